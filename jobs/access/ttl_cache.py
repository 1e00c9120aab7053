"""A bounded cache with a time to live, on a clock that tests can move."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["TTLCache"]

T = TypeVar("T")


class TTLCache(Generic[T]):
    """The last `most` answers, each for `seconds` on the clock `steady`."""

    def __init__(self, most: int, seconds: float, steady: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds = seconds
        self._steady = steady
        self._entries: dict[str, tuple[float, T]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, question: str) -> T | None:
        """Return the answer, None if it is not known or too old."""
        entry = self._entries.get(question)
        if entry is None:
            return None
        if self._steady() < entry[0]:
            return entry[1]
        del self._entries[question]
        return None

    def put(self, question: str, answer: T, asked_at: float) -> None:
        """Remember an answer as of `asked_at`; the oldest one makes room for it."""
        self._entries.pop(question, None)
        if len(self._entries) >= self._most:
            del self._entries[next(iter(self._entries))]
        self._entries[question] = (asked_at + self._seconds, answer)
