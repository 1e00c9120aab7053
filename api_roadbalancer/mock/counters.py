"""What was asked and answered: exact totals, and the time spent at each level of requests in flight."""

from __future__ import annotations

import time
from collections import Counter

__all__ = ["InFlight", "Totals"]

CLOSED = "closed"  # stands for the status of a connection closed or reset before any status was sent


class Totals:
    """Totals since a reset. requests = completed + errors + aborted + those still being served.

    An answer spoilt by a fault (a broken 200, too) is an error. Keys are left out where tracking is off.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.completed = 0
        self.errors = 0
        self.aborted = 0
        self.by_status: Counter[int] = Counter()
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.seen_keys: dict[str, int] = {}
        self.completed_keys: dict[str, int] = {}

    def request(self, key: str | None) -> None:
        self.requests += 1
        self.last_at = time.time()
        if self.first_at is None:
            self.first_at = self.last_at
        if key is not None:
            self.seen_keys[key] = self.seen_keys.get(key, 0) + 1

    def answer(self, key: str | None, status: int, good: bool) -> None:
        """`status` 0: the connection was closed or reset before a status was sent."""
        self.last_at = time.time()
        self.by_status[status] += 1
        if not good:
            self.errors += 1
            return
        self.completed += 1
        if key is not None:
            self.completed_keys[key] = self.completed_keys.get(key, 0) + 1

    def abort(self) -> None:
        """The client went away before its answer was complete."""
        self.last_at = time.time()
        self.aborted += 1

    def as_dict(self) -> dict[str, object]:
        return {
            "requests": self.requests,
            "completed": self.completed,
            "errors": self.errors,
            "aborted": self.aborted,
            "by_status": {str(status or CLOSED): count for status, count in sorted(self.by_status.items())},
            "first_at": self.first_at,
            "last_at": self.last_at,
        }


class InFlight:
    """The requests being served now, their maximum, and for how long there were how many."""

    def __init__(self) -> None:
        self.now = 0
        self.keys: dict[str, int] = {}
        self.reset()

    def reset(self) -> None:
        """Forgets the past; what is in flight stays so."""
        self.maximum = self.now
        self._seconds_at = [0.0] * (self.now + 1)
        self._since = time.monotonic()

    def enter(self, key: str | None) -> None:
        self._clock_in()
        self.now += 1
        if self.now > self.maximum:
            self.maximum = self.now
            self._seconds_at.append(0.0)
        if key is not None:
            self.keys[key] = self.keys.get(key, 0) + 1

    def leave(self, key: str | None) -> None:
        self._clock_in()
        self.now -= 1
        if key is None:
            return
        left = self.keys[key] - 1
        if left:
            self.keys[key] = left
        else:
            del self.keys[key]

    def seconds_at(self) -> dict[str, float]:
        """Seconds since the reset by the number in flight; levels never held are left out."""
        self._clock_in()
        return {str(level): seconds for level, seconds in enumerate(self._seconds_at) if seconds}

    def _clock_in(self) -> None:
        now = time.monotonic()
        self._seconds_at[self.now] += now - self._since
        self._since = now
