"""The circuit of an endpoint: closed (in use), open (left alone for a while), half open (a few requests find out)."""

import math
from dataclasses import dataclass
from enum import StrEnum

from balancer.runtime.record import record

__all__ = ["DOUBT", "KEPT_OF_TIMEOUTS", "RECENT", "TIMEOUTS_TO_SUSPECT", "Circuit", "Health", "HealthPolicy", "OpenedBy"]


class Circuit(StrEnum):
    """Whether an endpoint is used."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """When a circuit opens and for how long (seconds). A connection error weighs as much as `connection_weight` failures."""

    failures_to_open: int = 10
    connection_weight: int = 3
    first_open: float = 2.0
    longest_open: float = 60.0
    refresh_every: float = 0.25


RECENT = 60.0
"""Seconds after a good answer for which repeated failures of the same requests say nothing about the endpoint, and for which a
passed check bounds the pause."""
KEPT_OF_TIMEOUTS = 0.8
"""What each answer leaves of the timeouts before it, when they are counted."""
TIMEOUTS_TO_SUSPECT = 1.5
"""Timeouts, so counted, that make a circuit half open: two with at most three answers between them."""
DOUBT = 4
"""How many times more requests have to fail in a row, by what may be their own fault, while the endpoint is answering others."""


class OpenedBy(StrEnum):
    """What the failure was that opened a circuit."""

    ANSWERS = ""
    """Requests were taken and failed: a check proves little."""
    CONNECTION = "connection"
    """A connection could not be made: a check that is answered proves that they can again."""
    KEY = "key"
    """The key was refused: a check may show that it is taken again."""


@record(frozen=True, slots=True)
class Health:
    """One endpoint's health. `latency` is the moving average in seconds, None before the first answer; `limited_for` is how
    many more seconds the endpoint has asked to be left alone, `open_for` how long its circuit stays open, `idle_for` how long
    ago it last answered well."""

    circuit: Circuit = Circuit.CLOSED
    latency: float | None = None
    limited_for: float = 0.0
    open_for: float = 0.0
    idle_for: float = math.inf
    completed: int = 0
    failed: int = 0
    last_error: str = ""

    @property
    def usable(self) -> bool:
        """Whether requests may go there now."""
        return self.circuit is not Circuit.OPEN and self.limited_for <= 0
