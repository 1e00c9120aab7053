"""A periodic background task."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from redis.exceptions import RedisError

from balancer.runtime.loop import end_tasks

__all__ = ["Periodic"]

PAUSE_AFTER_UNEXPECTED_ERROR = 1.0
"""Seconds."""

log = logging.getLogger(__name__)


class Periodic:
    """Does `work` every `interval` seconds, and at once when `wake` is called. `start` it, and `aclose` it.

    `interval` may be a function that is asked each time. Wakes within `gather` seconds of the first count as one. A RedisError or
    an OSError goes to `on_error`, and after `pause_after_error` seconds the work is tried again. Any other error is logged, and
    the work tried again a second later: whoever needs it would wait for ever. With `stop_on_unexpected_error` it ends the
    task instead, for an owner that watches it.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[object]],
        interval: float | Callable[[], float],
        name: str,
        on_error: Callable[[Exception], None],
        pause_after_error: float = 0.0,
        gather: float = 0.0,
        stop_on_unexpected_error: bool = False,
    ) -> None:
        self._work = work
        self._interval = interval
        self._name = name
        self._on_error = on_error
        self._pause_after_error = pause_after_error
        self._gather = gather
        self._stop_on_unexpected_error = stop_on_unexpected_error
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> "asyncio.Task[None]":
        """Begin on the running loop, and return the task."""
        self._task = asyncio.create_task(self._run(), name=self._name)
        return self._task

    def wake(self) -> None:
        """Do the work now; if it is under way, once more."""
        self._woken.set()

    async def aclose(self) -> None:
        """Stop. What is under way is cancelled."""
        if self._task is not None:
            await end_tasks(self._task)
            self._task = None

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                # Not wait_for, which before Python 3.12 forgets a cancellation that comes together with the event.
                async with asyncio.timeout(self._interval() if callable(self._interval) else self._interval):
                    await self._woken.wait()
                    if self._gather:
                        await asyncio.sleep(self._gather)
            self._woken.clear()
            try:
                await self._work()
            except (RedisError, OSError) as exc:
                self._on_error(exc)
                await asyncio.sleep(self._pause_after_error)
            except Exception:
                if self._stop_on_unexpected_error:
                    raise
                log.exception("unexpected error in the task %r; trying again in %g s", self._name, PAUSE_AFTER_UNEXPECTED_ERROR)
                await asyncio.sleep(PAUSE_AFTER_UNEXPECTED_ERROR)
