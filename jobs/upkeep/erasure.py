"""Deletes what belongs to one API key: files, jobs that have ended, stored responses, answers kept for later jobs."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from balancer.runtime.events import audit
from balancer.state.redis_connection import AsyncRedis
from jobs.access.store import KeyStore
from jobs.errors import NotFound
from jobs.intake.files import Files
from jobs.node import Node
from jobs.records import Job
from jobs.storage import keys, object_store
from jobs.storage.job_store import JobStore
from jobs.storage.object_store import ObjectStore

__all__ = ["Erased", "Erasure", "erase_key"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Erased:
    """What was deleted; and how many jobs are `unfinished`, which stay with their inputs."""

    jobs: int = 0
    files: int = 0
    responses: int = 0
    answers: int = 0
    unfinished: int = 0

    def __add__(self, later: "Erased") -> "Erased":
        """Return what was deleted in all, after another time."""
        return Erased(
            self.jobs + later.jobs,
            self.files + later.files,
            self.responses + later.responses,
            self.answers + later.answers,
            later.unfinished,
        )

    @property
    def total(self) -> int:
        """How many things were deleted."""
        return self.jobs + self.files + self.responses + self.answers


class Erasure:
    """Whatever is left when it fails is deleted the next time."""

    def __init__(self, redis: AsyncRedis, jobs: JobStore, files: Files, store: ObjectStore) -> None:
        self._redis = redis
        self._jobs = jobs
        self._files = files
        self._store = store

    async def erase(self, owner: str, before: float = float("inf")) -> Erased:
        """Delete what the key with the id `owner` has that is older than `before` (s): jobs by when they ended, the rest by when
        it was made. What it has used stays in the account. Raises ObjectStoreError, OSError, RedisError.
        """
        if not owner:
            raise ValueError("what belongs to no key is not deleted")
        unfinished = [await self._jobs.get(job_id) for job_id in await self._jobs.unfinished_of(owner)]
        jobs = await self._erase_jobs(owner, before)
        files = await self._erase_files(owner, before, {job.input_file_id for job in unfinished})
        responses = await self._erase_responses(owner, before)
        answers = await self._erase_objects(object_store.cached_answers_folder(owner), before)
        erased = Erased(jobs, files, responses, answers, len(unfinished))
        if erased.total:
            audit(log, "key_data_deleted", key=owner, jobs=jobs, files=files, responses=responses, answers=answers)
        return erased

    async def apply_retention(self) -> None:
        """Delete what is older than the retention of its key, for all keys that have one."""
        for record in await KeyStore(self._redis).all():
            if record.limits.retention is not None:
                await self.erase(record.id, time.time() - record.limits.retention)

    async def _erase_jobs(self, owner: str, before: float) -> int:
        old = []
        for job_id in await self._members(keys.jobs_of(owner), before):
            try:
                job = await self._jobs.get(job_id)
            except NotFound:
                continue
            if job.is_final and _ended_at(job) < before:
                old.append(job_id)
        for job_id in old:
            await self._erase_objects(object_store.job_folder(job_id))
        await self._jobs.forget(old)
        return len(old)

    async def _erase_files(self, owner: str, before: float, in_use: Iterable[str]) -> int:
        old = [file_id for file_id in await self._members(keys.files_of(owner), before) if file_id not in in_use]
        for file_id in old:
            await self._files.delete(file_id)
        return len(old)

    async def _erase_responses(self, owner: str, before: float) -> int:
        old = await self._members(keys.responses_of(owner), before)
        await self._store.delete(*map(object_store.response_path, old))
        if old:
            await self._redis.zrem(keys.responses_of(owner), *old)
        return len(old)

    async def _erase_objects(self, folder: str, before: float = float("inf")) -> int:
        old = [found.path for found in await self._store.folder(folder) if found.modified < before]
        await self._store.delete(*old)
        return len(old)

    async def _members(self, index: str, before: float) -> list[str]:
        return [member.decode() for member in await self._redis.zrangebyscore(index, 0, f"({before}")]


async def erase_key(node: Node, wanted: str) -> Erased:
    """Delete what belongs to the key with this id (also if it is revoked) or name. Its unfinished jobs are cancelled first; those
    that take longer to end are left to another call. Raises NoSuchKey."""
    service = node.service
    record = await KeyStore(node.redis).known(wanted)
    for job_id in await service.jobs.unfinished_of(record.id):
        await service.cancel(job_id)
    return await Erasure(node.redis, service.jobs, service.files, node.objects).erase(record.id)


def _ended_at(job: Job) -> float:
    return max(job.times.values(), default=job.created_at)
