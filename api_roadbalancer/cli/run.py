"""`run`: runs one file of requests to the end, with Redis and workers started and stopped on the way."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from api_roadbalancer.bulk.display import TerminalDisplay
from api_roadbalancer.bulk.run import BulkRun
from api_roadbalancer.cli.canary import ask, show_canary
from api_roadbalancer.cli.common import (
    WIDE,
    Cache,
    CanaryLines,
    CanaryRandom,
    Dedupe,
    MaxCost,
    PriceClassOption,
    canary_from_options,
)
from api_roadbalancer.cli.input_source import input_file, is_elsewhere
from api_roadbalancer.cli.processes import Config
from api_roadbalancer.cli.run_request import RunRequest, Templates, checks_from_options, how_to_go_on, place_of
from api_roadbalancer.processes.named_endpoints import NamedEndpoints
from api_roadbalancer.processes.session import Session, open_session
from api_roadbalancer.processes.supervisor import Supervisor
from api_roadbalancer.progress import cached_share, duration, fleet_table, money
from api_roadbalancer.tables import table_chunks
from api_roadbalancer.user_files.local_files import errors_path, write_whole
from api_roadbalancer.user_files.result_files import check_place, refuse_foreign
from jobs.monitoring.overview import EndpointState, endpoint_states
from jobs.node import Node, open_node
from jobs.records import Job
from jobs.records.states import JobStatus
from workers.messages import celery_wake

__all__ = ["exit_code", "run"]

ALL_DONE, SOME_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def run(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN", help="Requests, a JSON object a line; or a table (.csv, .parquet, ...); - for stdin, or s3://..."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Results; errors go beside it. IN.results.jsonl, or IN.answers.csv for a table."),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEMPLATE", help="Ask this about each row of a table: 'Translate: {column}'.")
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="TEMPLATE", help="System message for each row (with --prompt).")] = None,
    embed: Annotated[
        str | None, typer.Option(metavar="TEMPLATE", help="Ask for the embedding of this text of each row: '{column}'.")
    ] = None,
    messages_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column that holds the messages (instead of --prompt).")
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column with an image's path or URL (with --prompt).")
    ] = None,
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
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes; one for 2,000 lines, at most one for each core and four."),
    ] = None,
    window: Annotated[str, typer.Option(help="How long it may take: 24h, 30m, 90s.")] = "24h",
    max_cost: MaxCost = None,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Lines of text instead of a live display.")] = False,
    schema: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON schema that each answer has to match, else its request is repeated.")
    ] = None,
    check: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=VALUE]", help="not_empty, finish_reason=stop, max_chars=200, regex=...; may be repeated."),
    ] = None,
    recheck: Annotated[
        int | None, typer.Option(metavar="N", help="How often to repeat a request whose answer fails the checks: 2.")
    ] = None,
    dedupe: Dedupe = None,
    cache: Cache = "",
    price_class: PriceClassOption = "",
    canary: CanaryLines = None,
    canary_random: CanaryRandom = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Go on after the canary without asking.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Once it is done: send the lines again that failed.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="End when no endpoint has answered for 30 s, instead of waiting for one.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an output file that holds something else.")] = False,
) -> None:
    """Run a file of requests and write the results, in the order of the input. Run again: it goes on, or says that it is done.

    Exit code 0: all lines completed; 1: some failed (see the errors file), or --max-cost is reached; 2: bad usage or bad input.
    """
    checks = checks_from_options(check or (), schema, recheck)
    templates = Templates(prompt, system, messages_column, image_column, field or (), embed)
    endpoints = NamedEndpoints.of(endpoint or [], model, api_key_env)
    console = Console(stderr=True) if sys.stderr.isatty() else Console(stderr=True, width=WIDE)
    live = console.is_terminal and not no_progress
    with ExitStack() as stack:
        file = stack.enter_context(input_file(source, has_output=out is not None))
        rows = templates.rows_of(file)
        out = place_of(file, out, rows is not None, plain)
        first = canary_from_options(canary, canary_random)
        request = RunRequest(
            file, out, window, workers, config, max_cost, force, endpoints, rows, plain, source if is_elsewhere(source) else "",
            retry_failed, checks, dedupe,
            canary=first, confirms=yes, fail_fast=fail_fast, cache=cache, price_class=price_class,
        )  # fmt: skip
        check_place(request.out, file)
        session = stack.enter_context(open_session(config, endpoints))
        supervisor = stack.enter_context(Supervisor())
        if session.configuration.is_simulated:
            console.print("[bold yellow]No endpoint is configured: a SIMULATED one answers, with invented text.[/]")
        session.start_simulations(supervisor)
        code = asyncio.run(_Run(request, session, supervisor, console, live).go())
    sys.exit(code)


class _Run:
    """One run of one request, and the files that it writes."""

    def __init__(self, request: RunRequest, session: Session, supervisor: Supervisor, console: Console, live: bool) -> None:
        self._request = request
        self._session = session
        self._supervisor = supervisor
        self._console = console
        self._display = TerminalDisplay(console, live)
        self._bulk = BulkRun(request.bulk(), session, supervisor, self._display, self._refuse_foreign, self._confirm)
        self._started_at = time.monotonic()
        self._is_signalled = False

    async def go(self) -> int:
        self._loop = asyncio.get_running_loop()
        for signalled in (signal.SIGINT, signal.SIGTERM):
            # Not the loop's handlers: they would forget a second signal while the loop ends, and workers have ten seconds then.
            signal.signal(signalled, self._on_signal)
        configuration, redis_url = self._session.configuration, self._session.redis_url
        async with open_node(configuration, redis_url, celery_wake(configuration, redis_url)) as node:
            with self._display.opened():
                job = await self._bulk.go(node)
            if job is None:
                self._display.say("stopped; what is finished is kept. The same command goes on from here.")
                return INTERRUPTED
            if job.paused:
                await self._say_how_to_go_on(node, job)
                return SOME_FAILED
            if self._bulk.was_done and self._request.out.exists():
                self._display.say(f"{self._request.name} is done already; delete {self._request.out} to have it written again")
            else:
                await self._write(node, job)
            self._summary(job, await endpoint_states(node))
            return exit_code(job)

    def _on_signal(self, *_: object) -> None:
        if self._is_signalled:
            self._supervisor.kill()
            return
        self._is_signalled = True
        with suppress(RuntimeError):  # the loop has ended, and the run with it
            self._loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        self._display.say("stopping: lines in flight may finish (10 s at most); Ctrl-C once more ends them at once")
        self._bulk.interrupted.set()

    def _refuse_foreign(self, known: Sequence[str]) -> None:
        """Refuse to replace a file that holds no results of the jobs `known`. Rows don't say whose they are, and are written at
        the end of a job only: what is there before is another's."""
        refuse_foreign(self._request.out, [] if self._request.writes_rows else known, self._request.force)

    async def _confirm(self, node: Node, job: Job) -> bool:
        """Whether to go on after the canary, which is shown."""
        with self._display.suspended():
            await show_canary(self._console, node, job)
            if self._request.confirms:
                return True
            question = f"Send the other {job.places - job.canary:,} requests?"
            return sys.stdin.isatty() and await ask(question, self._bulk.interrupted)

    async def _say_how_to_go_on(self, node: Node, job: Job) -> None:
        self._console.print(fleet_table(await endpoint_states(node), job.shares, self._console.width))
        self._display.say(f"\n{how_to_go_on(self._request, job)}")

    async def _write(self, node: Node, job: Job) -> None:
        """Write the user's files; one that would be empty is not there."""
        out, rows = self._request.out, self._request.rows
        if rows is not None and self._request.writes_rows:
            output, errors = await node.service.output(job, "output"), await node.service.output(job, "error")
            await write_whole(out, table_chunks(rows.table, out, job.id, output, errors, rows.embed is not None))
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
        self._console.print(fleet_table(endpoints, job.shares, self._console.width))
        self._console.print()
        tokens = f"{job.tokens.prompt:,} in{cached_share(job)}, {job.tokens.completion:,} out"
        repeats = f", {job.repeats:,} of them repeats of a request that was sent once" if job.repeats else ""
        lost = "".join(f", {n:,} {what}" for what, n in (("cancelled", ledger.cancelled), ("expired", ledger.expired)) if n)
        self._console.print(
            f"[bold]{ledger.completed:,} of {ledger.total:,} lines completed[/]{repeats}, {ledger.failed:,} failed{lost}"
            f" · {duration(seconds)} · tokens {tokens} · {money(job)}",
            highlight=False,
            soft_wrap=True,
        )
        self._console.print(f"results    {self._request.out}", highlight=False, soft_wrap=True)
        if job.error_file_id and not self._request.writes_rows:
            self._console.print(f"errors     {errors_path(self._request.out)}", highlight=False, soft_wrap=True)
        self._display.say(f"job        {job.id}")
        option = f" --config {self._request.config}" if self._request.config else ""
        self._display.say(f"monitor    roadbalancer flower{option}   (while a run is under way; then http://127.0.0.1:5555)")


def exit_code(job: Job) -> int:
    """Return 0 if all lines of an ended job completed, 1 if some did not, 2 if it was refused."""
    if job.status is JobStatus.FAILED:
        return BAD_INPUT
    return ALL_DONE if job.ledger.completed == job.ledger.total else SOME_FAILED


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for chunk in nothing:
        yield chunk
