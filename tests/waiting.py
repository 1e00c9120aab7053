"""Waits for what should come about, and says so when it doesn't."""

import asyncio
from collections.abc import Callable

PATIENCE = 10.0
"""Seconds after which a condition is taken for never coming true."""


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for a condition. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
