"""Limits that one process learns alone."""

import time
from dataclasses import dataclass, field

from balancer.state.concurrency.law import LimitState, Sample
from balancer.state.concurrency.learned_limits import ASK_ENGINE_EVERY, Turn
from balancer.state.concurrency.observed import Counts

__all__ = ["LocalLimitStore"]


class LocalLimitStore:
    """Keeps limits in memory; every report is a turn to decide."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    async def read(self, endpoint: str) -> LimitState | None:
        """Return what is known, which is nothing at first."""
        kept = self._kept.get(endpoint)
        return kept.state if kept else None

    async def observe(self, endpoint: str, counts: Counts, first: LimitState) -> Turn:
        """Take a report in."""
        now = time.monotonic()
        kept = self._kept.setdefault(endpoint, _Kept(first))
        seconds, kept.at = max(now - kept.at, 1e-3), now
        ask = now - kept.asked_at >= ASK_ENGINE_EVERY
        if ask:
            kept.asked_at = now
        in_flight = counts.flying / seconds
        sample = Sample(seconds, in_flight, counts.finished, counts.work, counts.busy, counts.refused, chats=counts.chats)
        return Turn(kept.state, 0, sample, ask)

    async def decide(self, endpoint: str, revision: int, state: LimitState) -> bool:
        """Keep a decision."""
        self._kept[endpoint].state = state
        return True


@dataclass(slots=True)
class _Kept:
    state: LimitState
    at: float = field(default_factory=time.monotonic)
    asked_at: float = 0.0
