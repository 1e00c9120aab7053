"""Jobs from the command line: submit, status, results, cancel, list, verify; and the fleet."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from api_roadbalancer.cli.oneshot import exit_code
from api_roadbalancer.cli.parts import Config
from api_roadbalancer.fleet_view import fleet_views
from api_roadbalancer.local_files import errors_path, read_chunks, write_whole
from api_roadbalancer.progress import Rate, fleet_table, job_line, job_view
from api_roadbalancer.session import open_session
from jobs.errors import InvalidRequest
from jobs.files import Upload
from jobs.intake import Form
from jobs.lines import CHAT_PATH
from jobs.node import Node, open_node
from jobs.records import Job
from jobs.service import JobRequest
from jobs.states import JobStatus
from jobs.verify import verify_job

__all__ = ["cancel", "endpoints", "list_jobs", "results", "status", "submit", "verify"]

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id, such as batch_….")]
LOOK_EVERY = 0.5
T = TypeVar("T")


def submit(
    source: Annotated[Path, typer.Argument(metavar="IN.jsonl", help="Requests: OpenAI batch lines or shorthand, one a line.")],
    config: Config = None,
    window: Annotated[str, typer.Option(help="How long it may take: 24h, 30m, 90s.")] = "24h",
    priority: Annotated[int, typer.Option(help="Higher goes first.")] = 0,
) -> None:
    """Take a file of requests in as a job and print the job's id. Exit code 2 if the input can't be used."""
    if not source.is_file():
        raise InvalidRequest(f"there is no file {source}")

    async def work(node: Node) -> str:
        file = await node.service.files.add(Upload(source.name, form=Form.SHORTHAND), read_chunks(source))
        request = JobRequest(file.id, CHAT_PATH, window, priority)
        errors = await node.service.check(request)
        if errors:
            await node.service.files.delete(file.id)
            listed = "\n".join(f"  {bad.message}" for bad in errors[:20])
            raise InvalidRequest(f"{source} can't be used; nothing was sent:\n{listed}")
        return (await node.service.submit(request)).id

    print(_with_node(config, work))


def status(
    job_id: JobId,
    config: Config = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay until it has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Show how far a job is. Exit code 1 if it has ended and some lines did not complete, 2 if it was refused."""
    console = _wide_console()

    async def work(node: Node) -> Job:
        job = await node.service.jobs.get(job_id)
        rate = Rate()
        if watch and not job.is_final:
            with Live(console=console, auto_refresh=False, transient=True) as live:
                while not job.is_final:
                    live.update(job_view(job, rate(job.ledger.done), await fleet_views(node)), refresh=True)
                    await asyncio.sleep(LOOK_EVERY)
                    job = await node.service.jobs.get(job_id)
        return job

    job = _with_node(config, work)
    if as_json:
        print(json.dumps(_as_dict(job), ensure_ascii=False))
    else:
        console.print(f"{job.id}  {job.ledger.done:,}/{job.ledger.total:,}  {job_line(job)}", highlight=False, soft_wrap=True)
        for bad in job.errors:
            console.print(f"  {bad.message}", highlight=False, markup=False)
    sys.exit(exit_code(job) if job.is_final else 0)


def results(
    job_id: JobId,
    config: Config = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File for the output; errors go beside it.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
) -> None:
    """Write a job's results: all of an ended one, what is finished of one under way, in line order.

    Exit code 1 if the job has ended and some lines did not complete.
    """

    async def work(node: Node) -> Job:
        job = await node.service.jobs.get(job_id)
        if follow and out is None:
            return await _follow(node, job)
        while follow and not job.is_final:
            await asyncio.sleep(LOOK_EVERY)
            job = await node.service.jobs.get(job_id)
        if out is None:
            await _print(node, job, 0)
        else:
            await _write(node, job, out)
        return job

    job = _with_node(config, work)
    sys.exit(exit_code(job) if job.is_final else 0)


async def _follow(node: Node, job: Job) -> Job:
    """Print each line as soon as all lines before it are finished."""
    following = 0
    while True:
        final = job.is_final
        if not final:
            async for result in node.service.finished_lines(job, following):
                if result.number != following:
                    break
                _out(result.line + b"\n")
                following += 1
            await asyncio.sleep(LOOK_EVERY)
            job = await node.service.jobs.get(job.id)
            continue
        await _print(node, job, following)
        return job


async def _print(node: Node, job: Job, skip: int) -> None:
    """Print the results from line `skip` on; of an ended job the output, then the errors."""
    if not job.is_final:
        async for result in node.service.finished_lines(job, skip):
            _out(result.line + b"\n")
        return
    for kind in ("output", "error"):
        content = await node.service.output(job, kind)
        if content is not None:
            async for chunk in content:
                _out(chunk)


async def _write(node: Node, job: Job, out: Path) -> None:
    if job.is_final:
        for kind, path in (("output", out), ("error", errors_path(out))):
            content = await node.service.output(job, kind)
            if content is not None or kind == "output":
                await write_whole(path, content or _lines(node, job, None))
        return
    await write_whole(out, _lines(node, job, 0))


async def _lines(node: Node, job: Job, start: int | None) -> AsyncIterator[bytes]:
    if start is not None:
        async for result in node.service.finished_lines(job, start):
            yield result.line + b"\n"


def _out(content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def cancel(job_id: JobId, config: Config = None) -> None:
    """Stop a job. What is finished is kept."""

    async def work(node: Node) -> Job:
        return await node.service.cancel(job_id)

    print(f"{job_id} {_with_node(config, work).status}")


def list_jobs(config: Config = None, limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20) -> None:
    """List jobs, newest first."""

    async def work(node: Node) -> list[Job]:
        return (await node.service.jobs.page(limit))[0]

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("job", "status", "lines", "completed", "failed", "created"):
        table.add_column(column, justify="right" if column in ("lines", "completed", "failed") else "left", no_wrap=True)
    for job in _with_node(config, work):
        created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.created_at))
        counts = (f"{n:,}" for n in (job.ledger.total, job.ledger.completed, job.ledger.failed))
        table.add_row(job.id, str(job.status), *counts, created)
    _wide_console().print(table)


def verify(job_id: JobId, config: Config = None) -> None:
    """Prove that an ended job lost nothing: every input line stands exactly once in its results, in order. Exit code 1 if not."""

    async def work(node: Node) -> bool:
        job = await node.service.jobs.get(job_id)
        if job.status is JobStatus.FAILED:
            raise InvalidRequest(f"{job.id} was refused as a whole; there is nothing to verify")
        verdict = await verify_job(node.service, node.objects, job)
        if verdict.holds:
            found = f"{verdict.in_output:,} output + {verdict.in_errors:,} errors"
            print(f"{job.id}: {verdict.lines:,} lines = {found}; each once, in order")
        else:
            print(f"{job.id}: BROKEN after {verdict.lines:,} lines: {verdict.problem}", file=sys.stderr)
        return verdict.holds

    sys.exit(0 if _with_node(config, work) else 1)


def endpoints(
    config: Config = None, as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False
) -> None:
    """Show the fleet: health, in flight, queue, latency, errors."""

    async def work(node: Node) -> None:
        views = await fleet_views(node)
        if not views and not as_json:
            print("no endpoint is configured; name some in a configuration file (--config) or in LLM_ENDPOINTS", file=sys.stderr)
            return
        if as_json:
            names = ("name", "circuit", "in_flight", "max_concurrency", "latency", "failed", "queued", "last_error")
            print(json.dumps([{name: getattr(view, name) for name in names} for view in views], ensure_ascii=False))
        else:
            _wide_console().print(fleet_table(views))

    _with_node(config, work)


def _with_node(config: Path | None, work: Callable[[Node], Awaitable[T]]) -> T:
    async def go(redis_url: str) -> T:
        async with open_node(session.configuration, redis_url) as node:
            return await work(node)

    with open_session(config) as session:
        return asyncio.run(go(session.redis_url))


def _wide_console() -> Console:
    """Return a console that cuts nothing off where no terminal sets a width."""
    return Console() if sys.stdout.isatty() else Console(width=250)


def _as_dict(job: Job) -> dict[str, object]:
    ledger = job.ledger
    return {
        "id": job.id,
        "status": job.status,
        "total": ledger.total,
        "completed": ledger.completed,
        "failed": ledger.failed,
        "cancelled": ledger.cancelled,
        "expired": ledger.expired,
        "shares": job.shares,
        "tokens": {"input": job.tokens.prompt, "output": job.tokens.completion},
        "cost": job.cost,
        "unpriced_lines": job.unpriced,
        "output_file_id": job.output_file_id,
        "error_file_id": job.error_file_id,
        "created_at": job.created_at,
        **job.times,
    }
