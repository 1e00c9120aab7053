"""An event loop on its own thread, for synchronous callers."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Generic, TypeVar

from balancer.errors import BalancerClosed, UsedAfterFork
from balancer.runtime.loop import end_tasks, new_event_loop

__all__ = ["BackgroundLoop"]

T = TypeVar("T")
_END = object()


class BackgroundLoop:
    """Runs coroutines for any number of threads. Also inside a running loop: the caller's thread waits, the loop is another."""

    def __init__(self, name: str) -> None:
        self._pid = os.getpid()
        self._loop = new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()
        self._closed = False
        self._entering = threading.Lock()
        """Held while work is handed over, so that none comes after the last."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return what it returns. Raises BalancerClosed, UsedAfterFork, and whatever it raises."""
        errand = _Errand(self._loop, work)
        try:
            self.check()
            with self._entering:
                self.check()
                self._loop.call_soon_threadsafe(errand.begin)
        except (BalancerClosed, UsedAfterFork):
            work.close()
            raise
        try:
            return errand.result()
        except asyncio.CancelledError:
            self.check()
            raise
        except BaseException:
            # The caller was interrupted (Ctrl-C): the answer is not needed any more.
            self._loop.call_soon_threadsafe(errand.cancel)
            raise

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Iterate over an asynchronous iterator; leaving the iteration early closes it."""
        try:
            while (item := self.run(_next(items))) is not _END:
                yield item  # type: ignore[misc]
        finally:
            close = getattr(items, "aclose", None)
            if close is not None and not self._closed:
                self.run(close())

    @property
    def is_closed(self) -> bool:
        """Whether it has been closed, or belongs to another process."""
        return self._closed or os.getpid() != self._pid

    def check(self) -> None:
        """Raise BalancerClosed or UsedAfterFork if nothing can be run."""
        if os.getpid() != self._pid:
            raise UsedAfterFork(self._pid)
        if self._closed:
            raise BalancerClosed

    def close(self) -> None:
        """Stop the loop; who still waits for something gets BalancerClosed. A second time does nothing."""
        if self.is_closed:
            return
        with self._entering:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(_end_everything(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Errand(Generic[T]):
    """Work that one thread has handed to the loop and waits for.

    It does what `asyncio.run_coroutine_threadsafe` does at two thirds of the CPU, which counts in each call: a lock is all that
    the waiting thread needs.
    """

    __slots__ = ("_done", "_error", "_loop", "_result", "_task", "_work")

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> None:
        self._loop = loop
        self._work = work
        self._done = threading.Lock()
        self._done.acquire()
        self._error: BaseException | None = None
        self._result: Any = None
        self._task: asyncio.Task[T] | None = None

    def begin(self) -> None:
        """Start the work. On the loop."""
        self._task = self._loop.create_task(self._work)
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """End the work. On the loop."""
        if self._task is not None:
            self._task.cancel()

    def _end(self, task: "asyncio.Task[T]") -> None:
        if task.cancelled():
            self._error = asyncio.CancelledError()
        else:
            self._error = task.exception()
            self._result = None if self._error else task.result()
        self._done.release()

    def result(self) -> T:
        """Wait for the end and return or raise what came of it. On the thread that waits."""
        self._done.acquire()
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # else the error, its traceback and this object keep one another alive
        result: T = self._result
        return result


async def _end_everything() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await end_tasks(*others)
    await asyncio.get_running_loop().shutdown_asyncgens()


async def _next(items: AsyncIterator[T]) -> "T | object":
    return await anext(items, _END)
