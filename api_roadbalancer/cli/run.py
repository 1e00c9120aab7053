"""`run`: runs one file of requests to the end, with Redis and workers started and stopped on the way."""

import asyncio
import hashlib
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from api_roadbalancer.cli.common import WIDE, MaxCost
from api_roadbalancer.cli.processes import Config
from api_roadbalancer.cli.run_request import RunRequest, how_to_go_on, place_of, rows_of
from api_roadbalancer.cli.up import default_workers, worker_child
from api_roadbalancer.local_files import errors_path, write_whole
from api_roadbalancer.named_endpoints import NamedEndpoints
from api_roadbalancer.progress import (
    Rate,
    cached_share,
    duration,
    fleet_table,
    job_line,
    job_view,
    money,
    waiting_because,
    what_is_down,
)
from api_roadbalancer.result_files import check_place, refuse_foreign
from api_roadbalancer.session import Session, open_session
from api_roadbalancer.supervisor import Supervisor
from api_roadbalancer.tables import table_chunks
from jobs.errors import InvalidRequest, NotFound
from jobs.intake.checker import Form
from jobs.intake.files import Upload
from jobs.intake.lines import CHAT_PATH
from jobs.node import Node, open_node
from jobs.overview import EndpointState, endpoint_states
from jobs.records import BadLine, Job
from jobs.service import JobRequest
from jobs.states import JobStatus
from workers.messages import celery_wake

__all__ = ["exit_code", "run"]

ALL_DONE, SOME_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
LOOK_EVERY = 0.25
"""Seconds between two pictures of the progress."""
TELL_EVERY = 5.0
"""Seconds between two lines where no terminal shows pictures."""
SHOWN_ERRORS = 20
SETTLE_SECONDS = 10.0
"""How long lines in flight of a paused job are waited for."""
KEPT_SECONDS = 10 * 365 * 86400
"""How long a one-shot job's files are kept, so that it can be found done."""


def run(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="Requests, OpenAI batch lines or shorthand; or a table (.csv, .tsv, .jsonl, .txt)."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Results; errors go beside it. IN.results.jsonl, or IN.answers.csv for a table."),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEMPLATE", help="Ask this about each row of a table: 'Translate: {column}'.")
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="TEMPLATE", help="System message for each row (with --prompt).")] = None,
    field: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Field of each request, such as max_tokens=40 (with --prompt).")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Rows with their answers as flat JSON objects (with --prompt).")] = False,
    endpoint: Annotated[
        list[str] | None, typer.Option("--endpoint", "-e", metavar="URL", help="Send the requests there; may be repeated.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Model for requests that name none (with --endpoint).")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Environment variable with the key (with --endpoint).")
    ] = None,
    config: Config = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; one for each core (at most four).")] = None,
    window: Annotated[str, typer.Option(help="How long it may take: 24h, 30m, 90s.")] = "24h",
    max_cost: MaxCost = None,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Lines of text instead of a live display.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an output file that holds something else.")] = False,
) -> None:
    """Run a file of requests and write the results, in the order of the input. Run again: it goes on, or says that it is done.

    Exit code 0: all lines completed; 1: some failed (see the errors file), or --max-cost is reached; 2: bad usage or bad input.
    """
    if not source.is_file():
        raise InvalidRequest(f"there is no file {source}")
    endpoints = NamedEndpoints.of(endpoint or [], model, api_key_env)
    rows = rows_of(source, prompt, system, field or [])
    out = place_of(source, out, rows is not None, plain)
    request = RunRequest(source, out, window, workers or default_workers(), config, max_cost, force, endpoints, rows, plain)
    check_place(request.out, source)
    console = Console(stderr=True) if sys.stderr.isatty() else Console(stderr=True, width=WIDE)
    live = console.is_terminal and not no_progress
    with ExitStack() as stack:
        session = stack.enter_context(open_session(config, endpoints))
        supervisor = stack.enter_context(Supervisor())
        if not session.configuration.endpoints:
            console.print("[bold yellow]No endpoint is configured: a SIMULATED one answers, with invented text.[/]")
        session.start_simulations(supervisor)
        code = asyncio.run(_Run(request, session, supervisor, console, live).go())
    sys.exit(code)


class _Run:
    """One run of one request."""

    def __init__(self, request: RunRequest, session: Session, supervisor: Supervisor, console: Console, live: bool) -> None:
        self._request = request
        self._session = session
        self._supervisor = supervisor
        self._console = console
        self._live = live
        self._interrupted = asyncio.Event()
        self._started_at = time.monotonic()
        self._paused_at: float | None = None

    async def go(self) -> int:
        loop = asyncio.get_running_loop()
        for signalled in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signalled, self._interrupted.set)
        configuration, redis_url = self._session.configuration, self._session.redis_url
        async with open_node(configuration, redis_url, celery_wake(configuration, redis_url)) as node:
            job = await self._find_or_open(node)
            was_done = job.is_final
            if not job.is_final and not job.paused:
                for number in range(1, self._request.workers + 1):
                    self._supervisor.start(worker_child(self._session, number))
                watched = await self._watch(node, job)
                if watched is None:
                    self._print("stopped; what is finished is kept. The same command goes on from here.")
                    return INTERRUPTED
                job = watched
            if job.paused:
                await self._say_how_to_go_on(node, job)
                return SOME_FAILED
            if was_done and self._request.out.exists():
                self._print(f"{self._request.source} is done already; delete {self._request.out} to have it written again")
                self._summary(job, await endpoint_states(node))
                return exit_code(job)
            await self._write(node, job)
            self._summary(job, await endpoint_states(node))
            return exit_code(job)

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    async def _find_or_open(self, node: Node) -> Job:
        """Find the job of this very input and output, or open it. One that was cancelled or has expired is begun anew."""
        digest = await asyncio.to_thread(self._request.digest)
        known: list[str] = []
        identity = f"{self._request.source.absolute()}\n{self._request.out.absolute()}\n{digest}"
        for round_number in range(1000):
            key = hashlib.sha256(f"{identity}\n{round_number}".encode()).hexdigest()[:32]
            known.append(f"batch_{key}")
            try:
                job = await node.service.jobs.get(known[-1])
            except NotFound:
                self._refuse_foreign(known)
                return await self._open(node, key)
            if not job.is_final:
                self._refuse_foreign(known)
            if job.status in (JobStatus.COMPLETED, JobStatus.IN_PROGRESS, JobStatus.FINALIZING):
                done = job.ledger.completed + job.ledger.failed
                if not job.is_final and not job.ending:
                    job = await self._with_cap(node, job)
                if not (job.is_final or job.ending or job.paused):
                    self._print(f"going on with {job.id}: {done:,} of {job.ledger.total:,} lines are done")
                return job
        raise InvalidRequest("this input has been cancelled a thousand times; name another output")

    def _refuse_foreign(self, known: list[str]) -> None:
        """Refuse to replace a file that holds no results of the jobs `known`. Rows don't say whose they are, and are written at
        the end of a job only: what is there before is another's."""
        refuse_foreign(self._request.out, [] if self._request.writes_rows else known, self._request.force)

    async def _with_cap(self, node: Node, job: Job) -> Job:
        """Give a job that is under way the cap of this request. Without one it keeps its own."""
        if job.status is not JobStatus.IN_PROGRESS or self._request.max_cost in (None, job.max_cost):
            return job
        return await node.service.limit_cost(job.id, self._request.max_cost)

    async def _open(self, node: Node, key: str) -> Job:
        file_id = f"file-{key}"
        upload = Upload(self._request.source.name, form=Form.SHORTHAND, file_id=file_id, ttl=KEPT_SECONDS)
        file = await node.service.files.add(upload, self._request.chunks())
        if file.errors:
            await node.service.files.delete(file_id)
            raise _Refused(file.errors)
        await self._learn_models(node, {model for model in file.models if model})
        job_id = f"batch_{key}"
        request = JobRequest(
            file_id, CHAT_PATH, self._request.window, job_id=job_id, output_ttl=KEPT_SECONDS, max_cost=self._request.max_cost
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
        """Show the progress until the job has ended or rests at its cap, and return it; None if the user stopped it."""
        rate = Rate()
        told_at = 0.0
        with Live(console=self._console, auto_refresh=False, transient=True) if self._live else ExitStack() as live:
            while not job.is_final:
                if self._interrupted.is_set():
                    return None
                self._supervisor.check()
                rests = await self._rests(node, job)
                job = await node.service.jobs.get(job.id)
                if rests and job.paused:
                    return job
                pace = rate(job.ledger.done)
                if isinstance(live, Live):
                    live.update(job_view(job, pace, await endpoint_states(node)), refresh=True)
                elif time.monotonic() - told_at >= TELL_EVERY:
                    told_at = time.monotonic()
                    self._print(f"{job.ledger.done:,}/{job.ledger.total:,} · {job_line(job, pace)}")
                    if trouble := waiting_because(job) or what_is_down(await endpoint_states(node)):
                        self._print(f"  {trouble}")
                if not job.is_final:
                    await _wait(self._interrupted, LOOK_EVERY)
        return job

    async def _rests(self, node: Node, job: Job) -> bool:
        """Whether a job is paused and no worker has anything of it any more, or its lines in flight have had their time."""
        if not job.paused:
            self._paused_at = None
            return False
        self._paused_at = self._paused_at or time.monotonic()
        return time.monotonic() - self._paused_at > SETTLE_SECONDS or not await node.service.held_by_workers(job)

    async def _say_how_to_go_on(self, node: Node, job: Job) -> None:
        self._console.print(fleet_table(await endpoint_states(node), job.shares))
        self._print(f"\n{how_to_go_on(self._request, job)}")

    async def _write(self, node: Node, job: Job) -> None:
        """Write the user's files; one that would be empty is not there."""
        out, rows = self._request.out, self._request.rows
        if rows is not None and self._request.writes_rows:
            files = [await node.service.output(job, kind) for kind in ("output", "error")]
            await write_whole(out, table_chunks(rows.table, out, job.id, *files))
            return
        for kind, path in (("output", self._request.out), ("error", errors_path(self._request.out))):
            content = await node.service.output(job, kind)
            if content is not None:
                await write_whole(path, content)
            elif kind == "output":
                await write_whole(path, _nothing())
            else:
                path.unlink(missing_ok=True)

    def _summary(self, job: Job, endpoints: list[EndpointState]) -> None:
        ledger = job.ledger
        seconds = time.monotonic() - self._started_at
        self._console.print(fleet_table(endpoints, job.shares))
        self._console.print()
        tokens = f"{job.tokens.prompt:,} in{cached_share(job)}, {job.tokens.completion:,} out"
        lost = "".join(f", {n:,} {what}" for what, n in (("cancelled", ledger.cancelled), ("expired", ledger.expired)) if n)
        self._console.print(
            f"[bold]{ledger.completed:,} of {ledger.total:,} lines completed[/], {ledger.failed:,} failed{lost}"
            f" · {duration(seconds)} · tokens {tokens} · {money(job)}",
            highlight=False,
            soft_wrap=True,
        )
        self._console.print(f"results    {self._request.out}", highlight=False, soft_wrap=True)
        if job.error_file_id and not self._request.writes_rows:
            self._console.print(f"errors     {errors_path(self._request.out)}", highlight=False, soft_wrap=True)
        self._print(f"job        {job.id}")
        option = f" --config {self._request.config}" if self._request.config else ""
        self._print(f"monitor    roadbalancer flower{option}   (while a run is under way; then http://127.0.0.1:5555)")


class _Refused(InvalidRequest):
    """The input has errors."""

    def __init__(self, errors: tuple[BadLine, ...]) -> None:
        shown = "\n".join(f"  {bad.message}" for bad in errors[:SHOWN_ERRORS])
        more = f"\n  and {len(errors) - SHOWN_ERRORS} more" if len(errors) > SHOWN_ERRORS else ""
        super().__init__(f"the input can't be used; nothing was sent:\n{shown}{more}")


def exit_code(job: Job) -> int:
    """Return 0 if all lines of an ended job completed, 1 if some did not, 2 if it was refused."""
    if job.status is JobStatus.FAILED:
        return BAD_INPUT
    return ALL_DONE if job.ledger.completed == job.ledger.total else SOME_FAILED


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for chunk in nothing:
        yield chunk


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
