"""What the commands do with jobs, and how with those of a configuration; those of a server are in api_roadbalancer.remote."""

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from api_roadbalancer.user_files.local_files import digest_of, read_chunks
from jobs.errors import InvalidRequest, NotFound
from jobs.intake.checker import Form
from jobs.intake.files import Upload
from jobs.intake.lines import CHAT_PATH
from jobs.intake.requests import Canary
from jobs.monitoring.overview import EndpointState, endpoint_states
from jobs.monitoring.why import why_now
from jobs.node import Node
from jobs.records import BadLine, Job
from jobs.rounds.retry import RetrySelection
from jobs.service import JobRequest

__all__ = ["JobAccess", "LocalJobs", "Submission", "refuse_errors"]

SHOWN_ERRORS = 20


@dataclass(frozen=True, slots=True)
class Submission:
    """The options of `submit`, as jobs.service.JobRequest has them. The same `name` and file again is the same job."""

    window: str = "24h"
    priority: int = 0
    background: bool = False
    order: str = "auto"
    max_cost: float | None = None
    dedupe: bool | None = None
    canary: Canary | None = None
    cache: str = ""
    price_class: str = ""
    name: str | None = None

    def as_request(self) -> dict[str, Any]:
        """Return it as `POST /api/v1/jobs` takes it."""
        canary = {"lines": self.canary.lines, "random": self.canary.random} if self.canary else None
        return {
            "completion_window": self.window,
            "priority": self.priority,
            "background": self.background,
            "order": self.order,
            "max_cost": self.max_cost,
            "dedupe": self.dedupe,
            "canary": canary,
            "cache": self.cache,
            "price_class": self.price_class,
        }


class JobAccess(Protocol):
    """Jobs, wherever they are. Methods raise JobError, RedisError and ObjectStoreError."""

    async def submit(self, source: Path, asked: Submission) -> Job:
        """Open a job on a file of requests. Raises InvalidRequest for one that can't be used."""

    async def job(self, job_id: str) -> Job:
        """Return a job as it is now."""

    async def why(self, job: Job) -> str:
        """Say what a job is waiting for."""

    async def page(self, limit: int) -> list[Job]:
        """Return the newest jobs."""

    async def endpoints(self) -> list[EndpointState]:
        """Return the fleet; nothing where that may not be seen."""

    async def steer(
        self,
        job_id: str,
        held: bool | None = None,
        priority: int | None = None,
        window: str | None = None,
        endpoints: Sequence[str] | None = None,
    ) -> Job:
        """Change how a job in progress is worked on; what is None stays."""

    async def limit_cost(self, job_id: str, max_cost: float | None) -> Job:
        """Set the cap on what a job may cost (USD), or lift it (None)."""

    async def end_canary(self, job_id: str) -> Job:
        """Let a job that is paused after its canary go on."""

    async def retry(self, job_id: str, selection: RetrySelection, window: str) -> Job:
        """Send lines of an ended job again."""

    async def cancel(self, job_id: str) -> Job:
        """Stop a job."""

    async def result(self, job: Job, custom_id: str, with_input: bool) -> bytes:
        """Return one line's result."""

    async def first_unfinished(self, job: Job, start: int) -> int:
        """Return the number of the first line, from `start` on, that is not finished."""

    def lines(self, job: Job, start: int, failed: bool | None, with_input: bool) -> AsyncIterator[tuple[int, bytes]]:
        """Yield results with their lines' numbers, from line `start` on."""

    async def output(self, job: Job, kind: str) -> AsyncIterator[bytes] | None:
        """Return the bytes of an ended job's `output` or `error` file, None if it has none."""


class LocalJobs:
    """Jobs of the configuration that `node` was opened with."""

    def __init__(self, node: Node) -> None:
        self._node = node
        service = node.service
        self.job, self.cancel, self.end_canary = service.jobs.get, service.cancel, service.end_canary
        self.steer, self.limit_cost, self.output = service.steer, service.limit_cost, service.output
        self.first_unfinished = service.results.first_unfinished

    async def submit(self, source: Path, asked: Submission) -> Job:
        """Open a job on a file of requests. Raises InvalidRequest for one that can't be used."""
        named = _named(asked.name, source) if asked.name is not None else None
        if named is not None and (known := await self._found(*named)):
            return known
        service = self._node.service
        file = await service.files.add(Upload(source.name, form=Form.SHORTHAND), read_chunks(source))
        request = JobRequest(
            file.id,
            next(iter(file.paths), CHAT_PATH),
            asked.window,
            asked.priority,
            asked.background,
            asked.order,
            max_cost=asked.max_cost,
            dedupe=asked.dedupe,
            canary=asked.canary,
            cache=asked.cache,
            price_class=asked.price_class,
        )
        if named is not None:
            request = replace(request, job_id=named[0], request_digest=named[1])
        try:
            refuse_errors(source, await service.check(request))
        except InvalidRequest:
            await service.files.delete(file.id)
            raise
        return await service.submit(request)

    async def _found(self, job_id: str, digest: str) -> Job | None:
        """Return a job that was made before, None if there is none. Raises InvalidRequest if it has another input."""
        try:
            job = await self._node.service.jobs.get(job_id)
        except NotFound:
            return None
        if job.request_digest != digest:
            raise InvalidRequest(f"this --id has named {job_id}, which has another input; give another --id")
        return job

    async def why(self, job: Job) -> str:
        """Say what a job is waiting for."""
        return await why_now(self._node, job)

    async def page(self, limit: int) -> list[Job]:
        """Return the newest jobs."""
        return (await self._node.service.jobs.page(limit))[0]

    async def endpoints(self) -> list[EndpointState]:
        """Return the fleet."""
        return await endpoint_states(self._node)

    async def retry(self, job_id: str, selection: RetrySelection, window: str) -> Job:
        """Send lines of an ended job again."""
        return await self._node.service.retry(job_id, selection, window)

    async def result(self, job: Job, custom_id: str, with_input: bool) -> bytes:
        """Return one line's result."""
        return await self._node.service.result(job, custom_id, with_input)

    def lines(self, job: Job, start: int, failed: bool | None, with_input: bool) -> AsyncIterator[tuple[int, bytes]]:
        """Yield results with their lines' numbers, from line `start` on."""
        lines = self._node.service.lines(job, start, failed)
        return self._node.service.with_requests(job, lines) if with_input else lines


def refuse_errors(source: Path, errors: Iterable[BadLine]) -> None:
    """Raise InvalidRequest if an input has errors, with the first ones of them."""
    listed = "\n".join(f"  {bad.message}" for bad in list(errors)[:SHOWN_ERRORS])
    if listed:
        raise InvalidRequest(f"{source} can't be used; nothing was sent:\n{listed}")


def _named(name: str, source: Path) -> tuple[str, str]:
    """Return the id of the job that `--id` names, and the digest of its input."""
    return f"batch_{hashlib.sha256(f'id{name}'.encode()).hexdigest()[:32]}", digest_of(source)
