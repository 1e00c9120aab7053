"""Event loops and the end of their tasks."""

import asyncio
from typing import Any

__all__ = ["end_tasks", "new_event_loop"]

CANCEL_AGAIN_AFTER = 0.1
"""Seconds."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a uvloop loop where that is to be had, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


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
