"""What is known of a line that has come to its end."""

from dataclasses import dataclass
from enum import Enum

__all__ = ["Result", "Source"]


class Source(Enum):
    """How a line came to its end."""

    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    """It did not: its job was cancelled or expired."""


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the output or the error file, without its line break."""

    number: int
    line: bytes
    source: Source
