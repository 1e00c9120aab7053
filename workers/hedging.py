"""When a straggler is sent to a second endpoint: near the end of a job, where slots stand idle.

The first whole answer wins, and the other request is aborted. The idea and its bound are those of Dean and Barroso, "The Tail
at Scale", Communications of the ACM 56 (2013).
"""

__all__ = ["LOOK_EVERY", "SLOT_PATIENCE", "HedgeBudget", "is_late"]

LOOK_EVERY = 0.1
"""Seconds between looking for stragglers."""
SLOT_PATIENCE = 1.0
"""Seconds that a hedge waits for the slot that stood idle when it was decided on."""
TIMES_USUAL = 2.0
"""Times the usual latency after which a line is late."""
AT_LEAST = 0.5
"""Seconds before which none is."""


def is_late(seconds: float, usual: float | None) -> bool:
    """Whether a line that was sent so many seconds ago is late; `usual` is what an answer takes there on average."""
    return seconds > max(AT_LEAST, TIMES_USUAL * (usual or 0.0))


class HedgeBudget:
    """Keeps the hedges of a process below a share of its requests."""

    def __init__(self, most: float) -> None:
        """`most` is hedges for a request; 0 switches them off."""
        self._most = most
        self.requests = 0
        self.hedges = 0

    def take(self) -> bool:
        """Count one more hedge, if it may be."""
        if self.hedges + 1 > self._most * self.requests:
            return False
        self.hedges += 1
        return True

    def give_back(self) -> None:
        """Count one fewer: it was not sent."""
        self.hedges -= 1
