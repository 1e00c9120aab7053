"""A token bucket that holds one second's worth of requests, and at least one."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["TokenBucket"]


class TokenBucket:
    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`per_minute` 0: everything passes."""
        self.per_minute = per_minute
        self._per_second = per_minute / 60
        self._capacity = max(1.0, self._per_second)
        self._tokens = self._capacity
        self._clock = clock
        self._filled_at = clock()

    def take(self) -> float:
        """Takes a token and returns 0, or leaves all as it is and returns the seconds until there is one."""
        if not self.per_minute:
            return 0.0
        now = self._clock()
        self._tokens = min(self._capacity, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._per_second
