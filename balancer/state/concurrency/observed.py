"""What one process sees of the requests that it has in flight at an endpoint."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from balancer.outcome import FailureKind, Outcome, Usage

__all__ = ["Counts", "Observed", "is_refusal", "work_of"]

PROMPT_SHARE = 1 / 16
"""Work of a prompt's token by that of an answer's: a prompt is read many tokens at a time."""


@dataclass(slots=True)
class Counts:
    """Sums since the last report: `flying` is the integral of the requests in flight (request-seconds), for the others see
    `law.Sample`."""

    version: int
    flying: float = 0.0
    finished: int = 0
    work: float = 0.0
    busy: float = 0.0
    refused: int = 0
    chats: int = 0
    """1 from a process that people wait for, if it had requests in flight."""


class Observed:
    """Counts requests of one endpoint between reports."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock()
        self.in_flight = 0
        self.counts = Counts(0)

    def begin(self) -> None:
        """Count a request that is being sent."""
        self._pass()
        self.in_flight += 1

    def end(self, version: int, outcome: Outcome | None) -> None:
        """Count a request, sent under that version of the limit, that has ended; None if it was aborted."""
        self._pass()
        self.in_flight -= 1
        counts = self.counts
        if outcome is None or outcome.abandoned or version != counts.version:
            return
        if outcome.failure is None:
            counts.finished += 1
            counts.work += work_of(outcome.usage)
            counts.busy += outcome.latency
        elif is_refusal(outcome):
            counts.refused += 1

    def take(self, version: int) -> Counts:
        """Return what has been counted, and go on under `version`."""
        self._pass()
        taken, self.counts = self.counts, Counts(version)
        return taken

    def change_version(self, version: int) -> None:
        """Drop what was counted under another version of the limit; requests in flight are counted under any."""
        if version != self.counts.version:
            self.counts = Counts(version, flying=self.counts.flying)

    def _pass(self) -> None:
        now = self._clock()
        self.counts.flying += self.in_flight * (now - self._at)
        self._at = now


def is_refusal(outcome: Outcome) -> bool:
    """Whether the endpoint has refused a request for being too many (429, 503, 529)."""
    return outcome.failure is not None and outcome.failure.kind in (FailureKind.RATE_LIMIT, FailureKind.OVERLOADED)


def work_of(usage: Usage) -> float:
    """Return the work that an answer has been, in tokens of answers; 1 if its usage is not known."""
    return 1.0 + usage.completion + usage.prompt * PROMPT_SHARE
