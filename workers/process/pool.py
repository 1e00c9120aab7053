"""Celery's thread pool, with a soft stop.

Celery's own threads pool raises on a soft or cold stop (it has no `terminate_job`, its results no `terminate`), so that running
tasks end in errors. Here a terminated task's shard hands back what is left.
"""

from typing import Any

from celery.concurrency.thread import ApplyResult, TaskPool

__all__ = ["ShardThreadPool"]


class _Result(ApplyResult):  # type: ignore[misc]
    def terminate(self, signal: Any = None) -> None:
        """Do nothing: the engine's drain hands running shards back."""


class ShardThreadPool(TaskPool):  # type: ignore[misc]
    """Threads that wait for the engine's loop; the work itself is asyncio."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._live: set[Any] = set()

    def on_apply(self, target: Any, args: Any = None, kwargs: Any = None, callback: Any = None,
                 accept_callback: Any = None, **_: Any) -> _Result:  # fmt: skip
        """Run a task on a thread and keep its result alive until it is done."""
        ordinary = super().on_apply(target, args, kwargs, callback, accept_callback, **_)
        self._live.add(ordinary.f)
        ordinary.f.add_done_callback(self._live.discard)
        return _Result(ordinary.f)

    def terminate_job(self, pid: Any, signal: Any = None) -> None:
        """Do nothing: threads can't be killed, and the engine's drain hands running shards back."""
