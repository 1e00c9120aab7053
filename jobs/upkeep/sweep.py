"""Deletes expired files and jobs, what is older than its key's retention, parts of ended jobs, and entries of dead workers."""

import logging
import time

from balancer.state.redis_connection import AsyncRedis
from jobs.errors import NotFound
from jobs.intake.files import Files
from jobs.intake.requests import LONGEST_CACHE
from jobs.storage import keys, object_store
from jobs.storage.job_store import JobStore
from jobs.storage.object_store import ObjectStore
from jobs.upkeep.erasure import Erasure

__all__ = ["Sweep"]

EVERY = 300.0
KEEP_JOBS = 90 * 86400.0
"""Seconds after which the record of a job that has ended is forgotten; its files expire by themselves."""
CACHE_EVERY = 6 * 3600.0
"""Seconds between two looks for answers that are too old for any job, and for responses."""
GONE_FOR = 60.0
"""Seconds after which a worker that was last heard of is not remembered any more."""

log = logging.getLogger(__name__)


class Sweep:
    """`run` it each round: it looks every five minutes."""

    def __init__(self, redis: AsyncRedis, jobs: JobStore, files: Files, store: ObjectStore) -> None:
        self._redis = redis
        self._jobs = jobs
        self._files = files
        self._store = store
        self._erasure = Erasure(redis, jobs, files, store)
        self._swept_at = 0.0
        self._cache_swept_at = time.monotonic()

    async def run(self) -> None:
        """Sweep if it is time to. Raises ObjectStoreError and OSError; what is left is swept the next time."""
        if time.monotonic() - self._swept_at < EVERY:
            return
        self._swept_at = time.monotonic()
        await self.forget_gone_workers()
        await self._delete_old_files()
        if old := await self._jobs.ended_before(time.time() - KEEP_JOBS):
            await self._jobs.forget(old)
            log.info("%d old jobs are forgotten", len(old))
        await self._erasure.apply_retention()
        await self.delete_orphan_parts()
        if time.monotonic() - self._cache_swept_at > CACHE_EVERY:
            self._cache_swept_at = time.monotonic()
            await self.delete_old(object_store.CACHE_FOLDER, time.time() - LONGEST_CACHE)
            await self.delete_old(object_store.RESPONSES_FOLDER, time.time() - object_store.KEEP_RESPONSES)

    async def delete_old(self, folder: str, before: float) -> None:
        """Delete what was written before a time (s): answers that are kept for other jobs, or responses."""
        for prefix in await self._store.folders(folder):
            found = await self._store.folder(f"{folder}/{prefix}")
            await self._store.delete(*(entry.path for entry in found if entry.modified < before))

    async def forget_gone_workers(self) -> None:
        """Remove workers from those that are listening which have sent no heartbeat for a while."""
        seconds, _ = await self._redis.time()
        serving: dict[bytes, bytes] = await self._redis.hgetall(keys.SERVING)
        gone = [process for process, entry in serving.items() if float(entry.split(b"|", 1)[0]) / 1000 < int(seconds) - GONE_FOR]
        if gone:
            await self._redis.hdel(keys.SERVING, *gone)

    async def delete_orphan_parts(self) -> None:
        """Delete parts that were written after their job had ended, by workers that had lost it."""
        for job_id in await self._store.folders(object_store.JOBS_FOLDER):
            round_ = ""
            try:
                job = await self._jobs.get(job_id)
                if not job.is_final:
                    continue
                round_ = job.round
            except NotFound:
                pass  # forgotten
            found = await self._store.folder(object_store.parts_folder(job_id, round_))
            if found:
                log.info("%d parts of %s, which has ended, are deleted", len(found), job_id)
                await self._store.delete(*(entry.path for entry in found))

    async def _delete_old_files(self) -> None:
        in_use = {job.input_file_id for job in await self._jobs.unfinished()}
        for file_id in await self._files.expired(time.time()):
            if file_id not in in_use:
                log.info("file %s has expired and is deleted", file_id)
                await self._files.delete(file_id)
