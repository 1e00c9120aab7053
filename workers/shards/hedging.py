"""When a straggler is sent to a second endpoint: near the end of a job, where slots stand idle.

A line that is late because its answer is long is no straggler: what an answer may take is known from the line's `max_tokens`
and the pace of the endpoint. Such lines get what hedges the others leave. The first whole answer wins, and the other request is
aborted. The idea and its bound are those of Dean and Barroso, "The Tail at Scale", Communications of the ACM 56 (2013).
"""

from collections import defaultdict
from typing import Any

__all__ = ["LOOK_EVERY", "MOST_FOR_A_LINE", "SLOT_PATIENCE", "AnswerPace", "HedgeBudget", "Hedging", "is_late"]

LOOK_EVERY = 0.1
"""Seconds between looking for stragglers."""
SLOT_PATIENCE = 1.0
"""Seconds that a hedge waits for the slot that stood idle when it was decided on."""
MOST_FOR_A_LINE = 2
"""Hedges that a line may have in all: one of them may be late itself."""
TIMES_USUAL = 2.0
"""Times the usual latency after which a line is late."""
AT_LEAST = 0.5
"""Seconds before which none is."""


MARGIN = 1.5
"""Times that what a line may take, before it is overdue: endpoints are not always equally fast."""
FADING = 0.98
"""Weight of an endpoint's answers for each newer one: the last 50 count."""
LEAST_ANSWERS = 20
"""Answers before an endpoint's pace is known."""
SPARED = 0.5
"""Part of the hedges that is left to lines that are overdue."""


def is_late(seconds: float, usual: float | None) -> bool:
    """Whether a line that was sent so many seconds ago is late; `usual` is what an answer takes there on average."""
    return seconds > max(AT_LEAST, TIMES_USUAL * (usual or 0.0))


class AnswerPace:
    """The seconds that an endpoint takes to start an answer, and for each of its tokens: the line of least squares through its
    latest answers."""

    def __init__(self) -> None:
        self._answers = 0
        self._weight = self._tokens = self._seconds = self._squares = self._products = 0.0

    def add(self, seconds: float, tokens: int) -> None:
        """Take in an answer."""
        self._answers += 1
        self._weight = self._weight * FADING + 1.0
        self._tokens = self._tokens * FADING + tokens
        self._seconds = self._seconds * FADING + seconds
        self._squares = self._squares * FADING + tokens * tokens
        self._products = self._products * FADING + tokens * seconds

    def may_take(self, tokens: int) -> float | None:
        """Return the seconds for an answer of so many tokens; None if that is not known yet."""
        if self._answers < LEAST_ANSWERS:
            return None
        mean_tokens, mean_seconds = self._tokens / self._weight, self._seconds / self._weight
        spread = self._squares / self._weight - mean_tokens**2
        by_token = max(0.0, (self._products / self._weight - mean_tokens * mean_seconds) / spread) if spread > 1e-9 else 0.0
        by_token = min(by_token, mean_seconds / mean_tokens) if mean_tokens else 0.0
        return mean_seconds + by_token * (tokens - mean_tokens)


class HedgeBudget:
    """Keeps the hedges of a process below a share of its requests."""

    def __init__(self, most: float) -> None:
        """`most` is hedges for a request; 0 switches them off."""
        self._most = most
        self.requests = 0
        self.hedges = 0

    def take(self, is_overdue: bool = True) -> bool:
        """Count one more hedge, if it may be."""
        if self.hedges + 1 > self._most * self.requests * (1.0 if is_overdue else SPARED):
            return False
        self.hedges += 1
        return True

    def give_back(self) -> None:
        """Count one fewer: it was not sent."""
        self.hedges -= 1


class Hedging:
    """What the lines of a process share for it: the budget, and the pace of each endpoint."""

    def __init__(self, most: float) -> None:
        self.budget = HedgeBudget(most)
        self._paces: defaultdict[str, AnswerPace] = defaultdict(AnswerPace)

    def answered(self, endpoint: str, seconds: float, tokens: int) -> None:
        """Learn from an answer."""
        self._paces[endpoint].add(seconds, tokens)

    def is_overdue(self, endpoint: str, seconds: float, max_tokens: Any) -> bool:
        """Whether a line that is late takes longer than its longest answer would; also where nothing bounds that, or the pace is
        not known."""
        if not isinstance(max_tokens, int) or max_tokens <= 0:
            return True
        longest = self._paces[endpoint].may_take(max_tokens)
        return longest is None or seconds > MARGIN * longest
