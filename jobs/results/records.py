"""What is known of a line that has come to its end."""

from enum import Enum

from balancer.runtime.record import record

__all__ = ["Result", "Source"]


class Source(Enum):
    """How a line came to its end."""

    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    """It did not: its job was cancelled or expired."""


@record(frozen=True, slots=True)
class Result:
    """One line of the output or the error file, without its line break."""

    number: int
    line: bytes
    source: Source
