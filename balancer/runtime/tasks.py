"""Cancels background tasks reliably."""

import asyncio
from typing import Any

__all__ = ["end_tasks"]

CANCEL_AGAIN_AFTER = 0.1
"""Seconds."""


async def end_tasks(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks until they have ended; what they raise is left with them.

    One cancellation is not enough: before Python 3.12, `asyncio.wait_for` forgets one that comes in the moment in which what it
    waits for is done (CPython issue 86296), and redis-py sends every command through it.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_AFTER)
