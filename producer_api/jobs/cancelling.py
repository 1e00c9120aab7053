"""Cancels jobs in the background, since joining the files of a large job takes time."""

import asyncio
import logging

from redis.exceptions import RedisError

from balancer.runtime.loop import end_tasks
from jobs.errors import JobError
from jobs.records import Job
from jobs.service import JobService
from jobs.storage.object_store import ObjectStoreError

__all__ = ["CANCEL_PATIENCE", "Cancellations"]

CANCEL_PATIENCE = 2.0
"""Seconds that a request waits for the end of the job; the work goes on behind it."""
CLOSING_PATIENCE = 5.0
"""Seconds that cancellations under way have when the server stops."""

log = logging.getLogger(__name__)


class Cancellations:
    """Cancellations under way. `aclose` at the end; what it stops, the janitor or the next cancellation takes up."""

    def __init__(self, service: JobService, patience: float = CANCEL_PATIENCE) -> None:
        self._service = service
        self._patience = patience
        self._tasks: set[asyncio.Task[None]] = set()

    async def cancel(self, job_id: str) -> Job:
        """Stop a job and return it as it is then: cancelled, or `cancelling` if that takes longer. Raises NotFound."""
        job = await self._service.jobs.get(job_id)
        if job.is_final:
            return job
        await self._service.begin_cancel(job_id)
        task = asyncio.create_task(self._finish(job_id), name=f"cancel {job_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task}, timeout=self._patience)
        return await self._service.jobs.get(job_id)

    async def aclose(self) -> None:
        """Let what is under way end, or stop it when that takes too long."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSING_PATIENCE)
        await end_tasks(*self._tasks)

    async def _finish(self, job_id: str) -> None:
        try:
            await self._service.end_stopped(job_id)
        except (JobError, RedisError, ObjectStoreError, OSError) as exc:
            log.warning("job %s is stopped, but could not be put together yet: %s", job_id, exc)
