"""Ends jobs in the background, since joining a large output takes minutes."""

import asyncio
import logging
import time

from redis.exceptions import RedisError

from balancer.runtime.loop import end_tasks
from jobs.errors import JobError
from jobs.records.waiting import Waiting
from jobs.results.assembly import Assembly
from jobs.storage.job_store import JobStore
from jobs.storage.object_store import ObjectStoreError

__all__ = ["Endings"]

AT_ONCE = 4
"""Jobs that one process ends at once."""
AGAIN_AFTER = 5.0
"""Seconds after which it is tried again to end a job that could not be ended."""

log = logging.getLogger(__name__)


class Endings:
    """Ends each job once at a time. Use on one event loop; `aclose` after."""

    def __init__(self, assembly: Assembly, jobs: JobStore) -> None:
        self._assembly = assembly
        self._jobs = jobs
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._not_before: dict[str, float] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    def begin(self, job_id: str) -> None:
        """Begin to end a job if nothing of it is left to do, unless that is under way, or failed a moment ago."""
        if job_id in self._under_way or time.monotonic() < self._not_before.get(job_id, 0.0):
            return
        task = asyncio.create_task(self._end(job_id), name=f"end {job_id}")
        self._under_way[job_id] = task
        task.add_done_callback(lambda _: self._under_way.pop(job_id, None))

    async def aclose(self) -> None:
        """Give up what is under way; the next process begins it anew."""
        await end_tasks(*self._under_way.values())

    async def _end(self, job_id: str) -> None:
        self._not_before.pop(job_id, None)
        try:
            async with self._room:
                await self._assembly.end_if_done(job_id)
        except (JobError, ObjectStoreError, OSError) as exc:
            log.error("job %s can't be ended: %s", job_id, exc)
            self._not_before[job_id] = time.monotonic() + AGAIN_AFTER
            await self._report_failure(job_id, exc)
        except RedisError as exc:
            log.warning("job %s can't be ended yet: Redis is unavailable (%s)", job_id, exc)
        except Exception:
            log.exception("job %s can't be ended", job_id)
            self._not_before[job_id] = time.monotonic() + AGAIN_AFTER

    async def _report_failure(self, job_id: str, error: Exception) -> None:
        why = Waiting.because(f"its results can't be put together: {error}", time.time() + AGAIN_AFTER)
        try:
            await self._jobs.set_waiting(job_id, why)
        except RedisError as exc:
            log.warning("the reason why %s waits can't be stored: Redis is unavailable (%s)", job_id, exc)
