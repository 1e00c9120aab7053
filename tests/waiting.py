"""Waits for what should come about, and says so when it doesn't."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["PATIENCE", "until", "until_blocking"]

PATIENCE = 30.0
"""Seconds after which a condition is taken for never coming true."""
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.05
"""Seconds between two looks: longer ones the longer it takes, since other tests want the processor."""


async def until(condition: Callable[[], Awaitable[Any]] | Callable[[], Any], seconds: float = PATIENCE, what: str = "") -> Any:
    """Wait until `condition` gives something true, and return that. Raises AssertionError after so many seconds."""
    deadline, pause = time.monotonic() + seconds, FIRST_PAUSE
    while True:
        answer = condition()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for {what or condition}")
        await asyncio.sleep(pause)
        pause = min(LONGEST_PAUSE, pause * 1.2)


def until_blocking(condition: Callable[[], Any], seconds: float = PATIENCE, what: str = "") -> Any:
    """Wait as `until` does, in a thread that may be held up."""
    deadline, pause = time.monotonic() + seconds, FIRST_PAUSE
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for {what or condition}")
        time.sleep(pause)
        pause = min(LONGEST_PAUSE, pause * 1.2)
    return answer
