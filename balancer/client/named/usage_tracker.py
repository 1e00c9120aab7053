"""`LLMUsageTracker`: counts requests, tokens and cost by provider and day, in this process."""

import threading
from collections import defaultdict
from datetime import UTC, date, datetime
from typing import Any

__all__ = ["LLMUsageTracker"]

KEPT_DAYS = 31


class LLMUsageTracker:
    """Counts what a program's own calls took. Safe on any thread; the last 31 days are kept, in memory.

    The usage of a server, over all its processes, is that of `roadbalancer usage`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._days: dict[date, dict[str, _Sum]] = {}

    def track_request(self, provider: str, tokens: int, cost: float | None) -> None:
        """Count one request. `cost` is in USD; one of unknown cost (None) is counted as such, not as free."""
        with self._lock:
            self._today()[provider].add(tokens, cost)

    def get_daily_stats(self, day: date | None = None) -> dict[str, dict[str, Any]]:
        """Return `requests`, `tokens`, `cost` (USD) and `requests_of_unknown_cost` by provider, for a day in UTC (today)."""
        with self._lock:
            sums = self._days.get(day or datetime.now(UTC).date(), {})
            return {provider: each.as_dict() for provider, each in sums.items()}

    def _today(self) -> "dict[str, _Sum]":
        today = datetime.now(UTC).date()
        if today not in self._days:
            self._days[today] = defaultdict(_Sum)
            for day in sorted(self._days)[:-KEPT_DAYS]:
                del self._days[day]
        return self._days[today]


class _Sum:
    def __init__(self) -> None:
        self.requests = self.tokens = self.unknown = 0
        self.nano_cost = 0

    def add(self, tokens: int, cost: float | None) -> None:
        self.requests += 1
        self.tokens += tokens
        if cost is None:
            self.unknown += 1
        else:
            self.nano_cost += round(cost * 1e9)  # whole numbers, so that the sum of many small costs stays exact

    def as_dict(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "tokens": self.tokens,
            "cost": self.nano_cost / 1e9,
            "requests_of_unknown_cost": self.unknown,
        }
