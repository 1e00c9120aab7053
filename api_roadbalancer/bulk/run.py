"""Runs one set of requests to its end, with worker processes of its own: finds its job or opens it, and watches it."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from api_roadbalancer.bulk.outage import NOTICED_AFTER, Outage, OutageGivenUp
from api_roadbalancer.processes.session import Session
from api_roadbalancer.processes.supervisor import Child, Supervisor
from api_roadbalancer.progress import Rate
from jobs.checks.python_checks import ALLOWED, uses_python
from jobs.errors import InvalidRequest, NotFound
from jobs.intake.checker import Form
from jobs.intake.files import Upload
from jobs.intake.requests import Canary
from jobs.monitoring.overview import EndpointState, endpoint_states
from jobs.node import Node
from jobs.records import BadLine, Job
from jobs.records.states import JobStatus, PauseReason
from jobs.rounds.retry import RetrySelection
from jobs.service import JobRequest

__all__ = ["BulkRequest", "BulkRun", "Display", "default_workers", "worker_child"]

LOOK_EVERY = 0.25
"""Seconds between two looks at the progress."""
SHOWN_ERRORS = 20
LINES_OF_A_WORKER = 2_000
"""About a second's work of a process, whose start takes as long."""
SETTLE_SECONDS = 10.0
"""How long lines in flight of a paused job are waited for."""
GOES_ON = (JobStatus.COMPLETED, JobStatus.IN_PROGRESS, JobStatus.FINALIZING)
"""A job in another state is begun anew, unless its lines are to be sent again."""
KEPT_SECONDS = 10 * 365 * 86400
"""How long a one-shot job's files are kept, so that it can be found done."""


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """What is to be answered: `chunks` yields the requests, the same ones each time. `identity` says which job this is, so that
    it is found again; it changes with whatever makes it another, or else `digest` tells the requests apart. `filename` is the
    input's name for people. With `retries_failed`, the lines that failed are sent again if the job has ended.
    `checks` is what answers have to pass (see jobs.checks), `dedupe` whether the same request is sent once; after the lines of a
    `canary` it has to be confirmed (see JobRequest). With `fail_fast` a run ends when no endpoint has been up for a while.
    """

    identity: str
    filename: str
    chunks: Callable[[], AsyncIterator[bytes]]
    window: str = "24h"
    max_cost: float | None = None
    workers: int | None = None
    digest: str = ""
    retries_failed: bool = False
    checks: str = ""
    dedupe: bool | None = None
    canary: Canary | None = None
    fail_fast: bool = False
    cache: str = ""
    price_class: str = ""


class Display(Protocol):
    """Displays the progress of a run."""

    def say(self, text: str) -> None:
        """Print a line."""

    def show(self, job: Job, rate: float, endpoints: Sequence[EndpointState]) -> None:
        """Show the progress; `rate` is in lines per second."""


class BulkRun:
    """One run. Set `interrupted` to stop it; what is finished is kept."""

    def __init__(
        self,
        request: BulkRequest,
        session: Session,
        supervisor: Supervisor,
        display: Display,
        check_place: Callable[[Sequence[str]], None] = lambda job_ids: None,
        confirm: Callable[[Node, Job], Awaitable[bool]] | None = None,
    ) -> None:
        """`check_place` may refuse (InvalidRequest) to begin, or to go on with, one of the jobs that it is given the ids of.
        `confirm` is whether a job goes on after its canary."""
        self._request = request
        self._session = session
        self._supervisor = supervisor
        self._display = display
        self._check_place = check_place
        self._confirm = confirm
        self._paused_at: float | None = None
        self.interrupted = asyncio.Event()
        self.was_done = False
        """Whether the job had ended before."""

    async def go(self, node: Node) -> Job | None:
        """Return the job when it has ended or is paused, None if the run was interrupted.

        Raises InvalidRequest for an input that can't be used, and ChildFailed if no worker comes up.
        """
        job = await self._find_or_open(node)
        if self._request.retries_failed and job.is_final and job.ledger.completed < job.ledger.total:
            job = await node.service.retry(job.id, RetrySelection(), self._request.window)
        self.was_done = job.is_final
        started = False
        environment = ALLOWED if uses_python(self._request.checks) else {}
        found: Job | None = job
        while found is not None and not found.is_final:
            if found.paused is PauseReason.CANARY and self._confirm is not None and await self._confirm(node, found):
                found = await node.service.end_canary(found.id)
            if found.paused:
                break
            if not started:
                started = True
                for number in range(1, (self._request.workers or default_workers(found.ledger.total)) + 1):
                    self._supervisor.start(worker_child(self._session, number, environment=environment))
            found = await self._watch(node, found)
        return found

    async def _find_or_open(self, node: Node) -> Job:
        """Find the job of this very request, or open it. One that was cancelled or has expired is begun anew."""
        known: list[str] = []
        for round_number in range(1000):
            key = hashlib.sha256(f"{self._request.identity}\n{round_number}".encode()).hexdigest()[:32]
            known.append(f"batch_{key}")
            try:
                job = await node.service.jobs.get(known[-1])
            except NotFound:
                self._check_place(known)
                return await self._open(node, key)
            if job.request_digest != self._request.digest:
                raise InvalidRequest(f"this id has named {job.id}, which has other requests; give another id")
            if not job.is_final:
                self._check_place(known)
            if job.status in GOES_ON or self._request.retries_failed:
                done = job.ledger.completed + job.ledger.failed
                if not job.is_final and not job.ending:
                    job = await self._with_cap(node, job)
                if not (job.is_final or job.ending or job.paused):
                    self._display.say(f"going on with {job.id}: {done:,} of {job.ledger.total:,} lines are done")
                return job
        raise InvalidRequest("this job has been cancelled a thousand times; give it another name")

    async def _with_cap(self, node: Node, job: Job) -> Job:
        """Give a job that is under way the cap of this request. Without one it keeps its own."""
        if job.status is not JobStatus.IN_PROGRESS or self._request.max_cost in (None, job.max_cost):
            return job
        return await node.service.limit_cost(job.id, self._request.max_cost)

    async def _open(self, node: Node, key: str) -> Job:
        file_id = f"file-{key}"
        upload = Upload(self._request.filename, form=Form.SHORTHAND, file_id=file_id, ttl=KEPT_SECONDS)
        file = await node.service.files.add(upload, self._request.chunks())
        if file.errors:
            await node.service.files.delete(file_id)
            raise _Refused(file.errors)
        await self._learn_models(node, {model for model in file.models if model})
        request = JobRequest(
            file_id,
            next(iter(file.paths)),
            self._request.window,
            job_id=f"batch_{key}",
            output_ttl=KEPT_SECONDS,
            max_cost=self._request.max_cost,
            request_digest=self._request.digest,
            checks=self._request.checks,
            dedupe=self._request.dedupe,
            canary=self._request.canary,
            cache=self._request.cache,
            price_class=self._request.price_class,
        )
        try:
            errors = await node.service.check(request)
        except InvalidRequest:
            await node.service.files.delete(file_id)
            raise
        if errors:
            await node.service.files.delete(file_id)
            raise _Refused(errors)
        return await node.service.submit(request)

    async def _learn_models(self, node: Node, models: set[str]) -> None:
        """Ask the endpoints what they serve, if the input names models: a wrong name is reported now, not after the last line."""
        if models:
            unknown = [name for name, endpoint in node.fleet.endpoints.items() if not endpoint.models]
            await asyncio.gather(*(node.fleet.prober.check(name) for name in unknown))

    async def _watch(self, node: Node, job: Job) -> Job | None:
        """Show the progress until the job has ended or is paused, and return it; None if the run is interrupted."""
        rate, outage, noticed = Rate(), Outage(), False
        while not job.is_final:
            if self.interrupted.is_set():
                return None
            self._supervisor.check()
            rests = await self._rests(node, job)
            job = await node.service.jobs.get(job.id)
            if rests and job.paused:
                return job
            endpoints = await endpoint_states(node)
            self._display.show(job, rate(job.ledger.done), endpoints)
            why = outage(job.ledger.done, endpoints)
            if why and self._request.fail_fast:
                raise OutageGivenUp(f"no endpoint has answered for {NOTICED_AFTER:g} s ({why}); what is finished is kept")
            if why and not noticed:
                self._display.say(f"no endpoint has answered for {NOTICED_AFTER:g} s: {why}. {_next_attempt(endpoints)}")
            noticed = bool(why)
            if not job.is_final:
                await _wait(self.interrupted, LOOK_EVERY)
        return job

    async def _rests(self, node: Node, job: Job) -> bool:
        """Whether a job is paused and no worker has anything of it any more, or its lines in flight have had their time."""
        if not job.paused:
            self._paused_at = None
            return False
        self._paused_at = self._paused_at or time.monotonic()
        return time.monotonic() - self._paused_at > SETTLE_SECONDS or not await node.service.held_by_workers(job)


def _next_attempt(endpoints: Sequence[EndpointState]) -> str:
    soonest = min(each.health.open_for for each in endpoints)
    return f"The next attempt is in {soonest:.0f} s; the run goes on by itself. --fail-fast ends such a run."


def default_workers(lines: int | None = None) -> int:
    """Return how many worker processes make sense here: one for each core, at most four. For a job of few lines it is one for
    each `LINES_OF_A_WORKER`: the start of another process would take longer than its share of them."""
    most = max(1, min(4, os.cpu_count() or 1))
    return most if lines is None else max(1, min(most, -(-lines // LINES_OF_A_WORKER)))


def worker_child(
    session: Session, number: int, log_level: str = "", environment: Mapping[str, str] = MappingProxyType({})
) -> Child:
    """Return a worker process of this session. Without a `log_level` it logs everything to a file of its own."""
    log = None if log_level else session.run_folder / f"worker-{number}.log"
    arguments = ["worker", "--config", str(session.settings_file()), "--name", f"worker-{number}"]
    arguments += ["--log-level", log_level or "INFO"]
    return Child(f"worker {number}", arguments, log, dict(environment), takes_hangups=True)


class _Refused(InvalidRequest):
    """The input has errors."""

    def __init__(self, errors: tuple[BadLine, ...]) -> None:
        if len(errors) == 1:
            super().__init__(f"the input can't be used; nothing was sent: {errors[0].message}")
            return
        shown = "\n".join(f"  {bad.message}" for bad in errors[:SHOWN_ERRORS])
        more = f"\n  and {len(errors) - SHOWN_ERRORS} more" if len(errors) > SHOWN_ERRORS else ""
        super().__init__(f"the input can't be used; nothing was sent:\n{shown}{more}")


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
