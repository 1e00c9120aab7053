"""The job service: submit, watch, read and cancel jobs."""

import logging
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import replace

import orjson

from balancer.fleet.fleet import Fleet
from balancer.routing import BalancingStrategy
from balancer.runtime.events import audit
from balancer.runtime.tracing import tracing
from balancer.state.redis_connection import AsyncRedis
from balancer.usage.price_class import PriceClass, has_flex
from jobs.access.record import KeyRecord, Limits
from jobs.access.refusals import Refused
from jobs.access.store import KeyStore
from jobs.checks.answer_checks import checks_of
from jobs.cost.cap import check_cap, require_prices
from jobs.dispatch.dispatcher import Dispatcher
from jobs.dispatch.lease_table import ShardTable
from jobs.dispatch.queueing import Wake
from jobs.errors import InvalidRequest, NotFound, NotReady
from jobs.intake.files import BATCH_PURPOSE, Files
from jobs.intake.line_index import read_lines
from jobs.intake.lines import CHAT_PATH, PATHS
from jobs.intake.media_urls import Source, allowed, refusal_of
from jobs.intake.requests import LONGEST_CACHE, JobRequest, NewJob
from jobs.records import BadLine, FileRecord, Job
from jobs.records.ids import new_job_id
from jobs.results.assembly import Assembly
from jobs.results.formats import with_request
from jobs.results.lines import all_lines, line_result
from jobs.results.reading import Results
from jobs.results.records import Result
from jobs.rounds.first import begin_first_round, delete_round
from jobs.rounds.retry import Retry, RetrySelection
from jobs.storage.job_store import JobStore, job_scripts
from jobs.storage.object_store import ObjectStore

__all__ = ["JobRequest", "JobService", "parse_window"]

MAX_METADATA = 16
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512
_WINDOW = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_PRIORITY = 100
MOST_CANARY_LINES = 10_000
ORDERS = ("auto", "input")
"""Whether lines that begin alike are sent one after the other, or all as they stand in the input."""


log = logging.getLogger(__name__)


class JobService:
    """Everything that producers do."""

    def __init__(
        self,
        process: str,
        redis: AsyncRedis,
        objects: ObjectStore,
        fleet: Fleet,
        strategy: BalancingStrategy,
        wake: Wake,
    ) -> None:
        scripts = job_scripts(redis)
        self._fleet = fleet
        self._keys = KeyStore(redis)
        self.files = Files(redis, objects)
        self.shards = ShardTable(redis, scripts)
        self.jobs = JobStore(redis, scripts)
        self.dispatcher = Dispatcher(redis, fleet, self.shards, wake, strategy)
        self.assembly = Assembly(process, self.jobs, self.shards, self.files, objects)
        self.results = Results(objects, self.shards)
        self._objects = objects
        self._retry = Retry(self.jobs, self.files, objects)

    async def submit(self, request: JobRequest) -> Job:
        """Open a job on an uploaded file. An input with errors gives a job that has failed, with the errors in it.

        Raises InvalidRequest for a request that can't be meant, and Refused for models that the caller may not use.
        """
        if (traced := tracing()) is not None:
            request = replace(request, trace=traced.carried())
        job = await self._open(await self._prepare(request))
        if (record := request.caller.record) is not None:
            await self._keys.announce_budgets(record)
            await self.jobs.refresh_pause(job.id)
        await self.dispatcher.run()
        job = await self.jobs.get(job.id)
        audit(log, "job_created", job=job.id, status=str(job.status), total=job.ledger.total, key=job.owner)
        return job

    async def _open(self, new: NewJob) -> Job:
        """Open a job, with a round that has its distinct requests, or those of its canary first, if need be."""
        request = new.request
        if new.errors or await self.jobs.exists(request.job_id):
            return await self.jobs.open(new)
        job_id = request.job_id or new_job_id()
        first = await begin_first_round(self._objects, job_id, new.input, request)
        folder = first.folder if first else ""
        try:
            job = await self.jobs.open(replace(new, request=replace(request, job_id=job_id), first_round=first))
        except Refused:
            if folder:
                await delete_round(self._objects, folder)
            raise
        if folder and job.round != folder:  # another process has opened it meanwhile
            await delete_round(self._objects, folder)
        return job

    async def revoke_key(self, wanted: str) -> KeyRecord:
        """Revoke the key with this id or name, pause its jobs, and return it. Raises NoSuchKey."""
        record = await self._keys.revoke(wanted)
        for job_id in await self.jobs.unfinished_of(record.id):
            await self.jobs.refresh_pause(job_id)
        return record

    async def check(self, request: JobRequest) -> tuple[BadLine, ...]:
        """Say why a job would be refused, without opening it. Raises InvalidRequest as `submit` does."""
        return (await self._prepare(request)).errors

    async def _prepare(self, request: JobRequest) -> NewJob:
        seconds = parse_window(request.window)
        _check_metadata(request.metadata)
        if request.background and request.priority:
            raise InvalidRequest("a background job has no priority: it takes only what no other job wants", "priority")
        _check_priority(request.priority)
        _check_choices(request)
        if request.path not in PATHS:
            raise InvalidRequest(f"endpoint must be {' or '.join(PATHS)}", "endpoint", "invalid_value")
        try:
            file = await self.files.get(request.input_file_id, request.caller.sees_only)
        except NotFound as exc:
            raise InvalidRequest(f"{exc}; upload the input first", "input_file_id", "file_not_found") from exc
        if file.purpose != BATCH_PURPOSE or file.lines is None:
            raise InvalidRequest(f"file {file.id} has the purpose {file.purpose!r}, not {BATCH_PURPOSE!r}", "input_file_id")
        request.caller.check_models(file.models)
        self._check_recheck(request)
        request.caller.check_priority(request.priority)
        errors = file.errors or (*_media_errors(file, request), *await self._errors_against_fleet(file, request.path))
        if not errors:
            self._check_class(request.price_class, file.models)
        if request.max_cost is not None:
            check_cap(request.max_cost)
            if not errors:
                require_prices(self._fleet, file.models)
        cache = parse_window(request.cache, "cache") if request.cache else 0
        if cache > LONGEST_CACHE:
            raise InvalidRequest(f"cache may be {LONGEST_CACHE // 86400}d at most", "cache", "invalid_value")
        return NewJob(request, file, seconds, errors, cache_seconds=int(cache))

    def _check_class(self, price_class: str, models: Iterable[str]) -> None:
        """Raise InvalidRequest for a class of processing that no endpoint has."""
        serving = {model: self._fleet.catalog.serving(model or None) for model in models}
        problem = ""
        if price_class == PriceClass.FLEX:
            names = {name for found in serving.values() for name in found}
            if not any(has_flex(self._fleet.endpoints[name]) for name in names):
                known = "one at https://api.openai.com/v1 has it, and one with `price_class: flex`"
                problem = f"no endpoint that serves these models has flex processing: {known}"
        elif price_class == PriceClass.BATCH:
            without = [model for model, names in serving.items() if not any(map(self._fleet.batches, names))]
            if without:
                problem = f"no endpoint that serves {without[0] or 'requests without a model'} has `batch: true`"
        if problem:
            raise InvalidRequest(problem, "price_class", "invalid_value")

    def _check_recheck(self, request: JobRequest) -> None:
        if request.checks and (model := checks_of(request.checks).model):
            request.caller.check_models([model])
            if not self._fleet.catalog.serving(model):
                raise InvalidRequest(f"no endpoint serves the model {model!r} of recheck", "recheck", "model_not_found")

    async def cancel(self, job_id: str) -> Job:
        """Stop a job; what is finished is kept. A job that has ended stays as it is. Raises NotFound."""
        await self.begin_cancel(job_id)
        await self.end_stopped(job_id)
        return await self.jobs.get(job_id)

    async def begin_cancel(self, job_id: str) -> None:
        """Stop a job, which ends when its workers have handed back what they have: see `end_stopped`. Raises NotFound."""
        await self.jobs.stop(job_id, "cancelled")
        audit(log, "job_cancelled", job=job_id)

    async def end_stopped(self, job_id: str) -> None:
        """End a job that was stopped, if nothing of it is with workers; else one of them ends it."""
        await self.assembly.end_if_done(job_id)
        await self.dispatcher.run()

    async def retry(self, job_id: str, selection: RetrySelection, window: str = "", limits: Limits | None = None) -> Job:
        """Send lines of an ended job again; their results are merged with the others'. `window` is how long that may take, that
        of the job if it is not given, and `limits` are those of the caller's key.

        Raises NotFound, Refused, and InvalidRequest if there is nothing to be sent again or no endpoint could take it.
        """
        job = await self.jobs.get(job_id)
        file = await self.files.get(job.input_file_id)
        if errors := await self._errors_against_fleet(file, job.path):
            raise InvalidRequest(errors[0].message, errors[0].param, errors[0].code)
        if await self._retry.begin(job, selection, parse_window(window or job.window), limits.jobs if limits else None):
            await self.jobs.refresh_pause(job_id)
            await self.dispatcher.run()
            audit(log, "job_retried", job=job_id)
        return await self.jobs.get(job_id)

    async def limit_cost(self, job_id: str, max_cost: float | None) -> Job:
        """Set the cap on what a job may cost (USD), or lift it (None); a job that was paused at its cap goes on.

        Raises NotFound, and InvalidRequest if that much is spent, a price is not known, or the job is not in progress any more.
        """
        if max_cost is not None:
            check_cap(max_cost)
            await self._fleet.refresh_models()
            require_prices(self._fleet, (await self.jobs.get(job_id)).asked_models)
        job = await self.jobs.limit_cost(job_id, max_cost)
        await self.dispatcher.run()
        audit(log, "job_changed", job=job_id, max_cost="none" if max_cost is None else max_cost)
        return job

    async def steer(
        self,
        job_id: str,
        held: bool | None = None,
        priority: int | None = None,
        window: str | None = None,
        endpoints: Sequence[str] | None = None,
    ) -> Job:
        """Change how a job in progress is worked on; what is None stays. `held` pauses it, or lets it go on; `window` is how long
        it may take from when it was made; its lines are sent to no others than `endpoints` (empty: to any).

        Raises NotFound, and InvalidRequest for what can't be, or if the job is not in progress any more.
        """
        fields: dict[str, str | int] = {}
        if held is not None:
            fields["held"] = "1" if held else ""
        if priority is not None:
            _check_priority(priority)
            fields["priority"] = priority
        if window is not None:
            job = await self.jobs.get(job_id)
            ends = job.times.get("in_progress_at", job.created_at) + int(parse_window(window))
            if ends <= time.time():
                raise InvalidRequest(f"{window} from its beginning is over already", "completion_window", "invalid_value")
            fields |= {"window": window, "expires_at": ends}
        if endpoints is not None:
            await self._check_endpoints(await self.jobs.get(job_id), endpoints)
            fields["endpoints"] = orjson.dumps(list(endpoints)).decode() if endpoints else ""
        job = await self.jobs.steer(job_id, fields)
        await self.dispatcher.run()
        audit(log, "job_changed", job=job_id, held=held, priority=priority, window=window, endpoints=endpoints)
        return job

    async def _check_endpoints(self, job: Job, endpoints: Sequence[str]) -> None:
        """Raise InvalidRequest if there is no such endpoint, or if one of the job's models would be served by none."""
        for name in endpoints:
            if name not in self._fleet.endpoints:
                known = ", ".join(self._fleet.endpoints) or "none"
                raise InvalidRequest(f"there is no endpoint {name!r} (there are {known})", "endpoints", "invalid_value")
        await self._fleet.refresh_models()
        for model in job.asked_models:
            if endpoints and not set(endpoints) & set(self._fleet.catalog.serving(model or None)):
                raise InvalidRequest(
                    f"none of these serves {model or 'requests without a model'}", "endpoints", "model_not_found"
                )

    async def end_canary(self, job_id: str) -> Job:
        """Let a job that is paused after its canary go on. Raises NotFound, InvalidRequest."""
        job = await self.jobs.end_canary(job_id)
        await self.dispatcher.run()
        audit(log, "job_changed", job=job_id, canary="ended")
        return job

    async def held_by_workers(self, job: Job) -> bool:
        """Whether workers have something of a paused job: lines in flight. Its shards that wait in queues are taken back."""
        held = False
        for first in await self.shards.open_of(job.id):
            held |= not await self.shards.give_back(job.id, first, only_if="queued")
        return held

    def finished_lines(self, job: Job, start: int = 0) -> AsyncIterator[Result]:
        """Yield what is finished of a job that is under way, in line order. Raises FileNotFoundError if it ends meanwhile."""
        return self.results.finished(job, start)

    def lines(self, job: Job, start: int = 0, failed: bool | None = None) -> AsyncIterator[tuple[int, bytes]]:
        """Yield the results from line `start` on, each with its line's number: see jobs.results.lines.all_lines."""
        return all_lines(self.results, self.files, self.jobs, job, start, failed)

    async def number_of(self, job: Job, custom_id: str) -> int:
        """Return the number (from 0) of the line with this id. Raises NotFound, also if the input was deleted."""
        number = await self.files.line_of(await self.files.get(job.input_file_id), custom_id)
        if number is None:
            raise NotFound("line", custom_id)
        return number

    async def result(self, job: Job, custom_id: str, with_input: bool = False) -> bytes:
        """Return the result of the line with this id, without reading the others; `with_input` adds its request.

        Raises NotFound, and NotReady if it is not finished.
        """
        number = await self.number_of(job, custom_id)
        line = await line_result(self.results, self.files, self.jobs, job, number)
        if line is None:
            raise NotReady(f"line {number + 1} of {job.id} ({custom_id}) is not finished yet")
        if with_input:
            async for _, raw in read_lines(self._objects, job.input_file_id, number, number + 1):
                return with_request(line, raw)
        return line

    async def with_requests(self, job: Job, lines: AsyncIterator[tuple[int, bytes]]) -> AsyncIterator[tuple[int, bytes]]:
        """Put each line's request into its result, as `request`; they come by number."""
        requests: AsyncIterator[tuple[int, bytes]] | None = None
        async for number, line in lines:
            requests = requests or read_lines(self._objects, job.input_file_id, number, job.ledger.total)
            async for found, raw in requests:
                if found == number:
                    yield number, with_request(line, raw)
                    break

    async def output(self, job: Job, kind: str) -> AsyncIterator[bytes] | None:
        """Return the bytes of an ended job's `output` or `error` file, None if it has none. Raises NotReady, NotFound."""
        if not job.is_final:
            raise NotReady(f"{job.id} is {job.status}; its files are there when it has ended")
        file_id = job.output_file_id if kind == "output" else job.error_file_id
        return self.files.content(await self.files.get(file_id)) if file_id else None

    async def _errors_against_fleet(self, file: FileRecord, path: str) -> tuple[BadLine, ...]:
        """Say which lines no endpoint could take."""
        errors = [
            BadLine("url_mismatch", f"line {line}: `url` is {other}, but the batch's endpoint is {path}", line, "url")
            for other, line in file.paths.items()
            if other != path
        ]
        await self._fleet.refresh_models()
        known = ", ".join(sorted(self._fleet.catalog.models())[:20]) or "none"
        errors += [
            BadLine(
                "model_not_found", f"line {line}: no endpoint serves the model {model!r} (known: {known})", line, "body.model"
            )
            for model, line in file.models.items()
            if model and not self._fleet.catalog.serving(model)
        ]
        return tuple(errors)


def _check_priority(priority: int) -> None:
    if abs(priority) > MAX_PRIORITY:
        raise InvalidRequest(f"priority must lie between -{MAX_PRIORITY} and {MAX_PRIORITY}", "priority")


def _media_errors(file: FileRecord, request: JobRequest) -> Iterator[BadLine]:
    """Say which lines link to media that the job may not have."""
    for kind, line in file.media.items():
        if not allowed(request.media_urls, source := Source(kind)):
            message = f"line {line}: {refusal_of(request.media_urls, source)}"
            yield BadLine("media_url_refused", message, line, "body")


def _check_choices(request: JobRequest) -> None:
    if request.canary is not None and not 1 <= request.canary.lines <= MOST_CANARY_LINES:
        raise InvalidRequest(f"a canary has 1 to {MOST_CANARY_LINES:,} lines", "canary", "invalid_value")
    if request.order not in ORDERS:
        raise InvalidRequest(f"order must be {' or '.join(ORDERS)}", "order", "invalid_value")
    if request.price_class not in ("", *PriceClass):
        raise InvalidRequest(f"price_class must be {' or '.join(PriceClass)}", "price_class", "invalid_value")
    if request.checks and request.path != CHAT_PATH:
        raise InvalidRequest(f"checks are for chats, and not for {request.path}", "checks", "invalid_value")


def parse_window(window: str, param: str = "completion_window") -> float:
    """Return the seconds of a completion window such as `24h`, `30m` or `90s`. Raises InvalidRequest, about `param`."""
    match = _WINDOW.fullmatch(window)
    if not match or not int(match[1]):
        raise InvalidRequest(f"{param} must be a number and s, m, h or d, such as 24h (got {window!r})", param)
    return float(int(match[1]) * _UNITS[match[2]])


def _check_metadata(metadata: dict[str, str] | None) -> None:
    if metadata is None:
        return
    if len(metadata) > MAX_METADATA:
        raise InvalidRequest(f"metadata may have {MAX_METADATA} entries", "metadata")
    for name, value in metadata.items():
        if len(name) > MAX_METADATA_KEY or len(value) > MAX_METADATA_VALUE:
            message = f"metadata keys may have {MAX_METADATA_KEY} characters, values {MAX_METADATA_VALUE}"
            raise InvalidRequest(message, "metadata")
