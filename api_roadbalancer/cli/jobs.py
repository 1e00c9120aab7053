"""Jobs from the command line: submit, status, resume, cancel, list, verify."""

import asyncio
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from api_roadbalancer.cli.common import (
    Cache,
    CanaryLines,
    CanaryRandom,
    Dedupe,
    JobId,
    MaxCost,
    PriceClassOption,
    canary_from_options,
    wide_console,
    with_jobs,
    with_node,
)
from api_roadbalancer.cli.processes import Config
from api_roadbalancer.cli.run import exit_code
from api_roadbalancer.local_jobs import JobAccess, Submission
from api_roadbalancer.processes.session import NoStore
from api_roadbalancer.progress import (
    Rate,
    job_line,
    job_view,
    lateness,
    spent,
    state_of,
)
from api_roadbalancer.user_files.input_format import check_requests
from jobs.cost.projection import project
from jobs.errors import InvalidRequest
from jobs.node import Node
from jobs.records import Job
from jobs.records.states import JobStatus, PauseReason
from jobs.results.verify import verify_job
from jobs.rounds.retry import RetrySelection

__all__ = ["cancel", "change", "list_jobs", "pause", "resume", "retry", "status", "submit", "verify", "why"]

LOOK_EVERY = 0.5
"""Seconds between two looks at a job that is watched."""


def submit(
    source: Annotated[Path, typer.Argument(metavar="IN.jsonl", help="Requests: OpenAI batch lines or shorthand, one a line.")],
    config: Config = None,
    window: Annotated[str, typer.Option(help="How long it may take: 24h, 30m, 90s.")] = "24h",
    priority: Annotated[int, typer.Option(help="Higher goes first.")] = 0,
    background: Annotated[bool, typer.Option("--background", help="Take only what no other job wants.")] = False,
    order: Annotated[str, typer.Option(help="auto: lines that begin alike one after the other; input: as they stand.")] = "auto",
    dedupe: Dedupe = None,
    cache: Cache = "",
    price_class: PriceClassOption = "",
    canary: CanaryLines = None,
    canary_random: CanaryRandom = False,
    max_cost: MaxCost = None,
    name: Annotated[
        str | None, typer.Option("--id", metavar="NAME", help="Name the job: the same name and file again is the same job.")
    ] = None,
) -> None:
    """Submit a file as a job and print the job's id. Exit code 2 if the input can't be used."""
    if not source.is_file():
        raise InvalidRequest(f"there is no file {source}")
    first = canary_from_options(canary, canary_random)
    check_requests(source)
    asked = Submission(window, priority, background, order, max_cost, dedupe, first, cache, price_class, name)
    job = with_jobs(config, lambda jobs: jobs.submit(source, asked), creates=True)
    if late := lateness(job):
        print(f"{job.id} is {late}", file=sys.stderr)
    print(job.id)


def status(
    job_id: JobId,
    config: Config = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay until it has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Show how far a job is. Exit code 1 if it has ended and some lines did not complete, 2 if it was refused."""
    console = wide_console()

    async def work(jobs: JobAccess) -> tuple[Job, str]:
        job = await jobs.job(job_id)
        rate = Rate()
        if watch and not job.is_final:
            with Live(console=console, auto_refresh=False, transient=True) as live:
                while not job.is_final:
                    live.update(job_view(job, rate(job.ledger.done), await jobs.endpoints(), console.width), refresh=True)
                    await asyncio.sleep(LOOK_EVERY)
                    job = await jobs.job(job_id)
        return job, "" if job.is_final else await jobs.why(job)

    job, reason = with_jobs(config, work)
    if as_json:
        print(json.dumps({**_as_dict(job), **({"why": reason} if reason else {})}, ensure_ascii=False))
    else:
        console.print(f"{job.id}  {job.ledger.done:,}/{job.ledger.total:,}  {job_line(job)}", highlight=False, soft_wrap=True)
        if reason:
            console.print(f"  {reason}", highlight=False, markup=False, soft_wrap=True)
        for bad in job.errors:
            console.print(f"  {bad.message}", highlight=False, markup=False)
    sys.exit(exit_code(job) if job.is_final else 0)


def why(job_id: JobId, config: Config = None) -> None:
    """Say in one paragraph what a job is waiting for."""

    async def work(jobs: JobAccess) -> str:
        return await jobs.why(await jobs.job(job_id))

    print(with_jobs(config, work))


def pause(job_id: JobId, config: Config = None) -> None:
    """Begin no more lines of a job until `resume`. Lines in flight may finish."""
    job = with_jobs(config, lambda jobs: jobs.steer(job_id, held=True))
    print(f"{job.id}  {job.ledger.done:,}/{job.ledger.total:,}  {job_line(job)}")


def change(
    job_id: JobId,
    config: Config = None,
    priority: Annotated[int | None, typer.Option(help="Jobs of a higher one go first.")] = None,
    window: Annotated[str | None, typer.Option(help="How long it may take from when it began: 24h, 30m.")] = None,
    endpoints: Annotated[str | None, typer.Option(help="Send its lines to these only: names by comma, or `all`.")] = None,
) -> None:
    """Change the priority, the window or the endpoints of a job in progress."""
    names = None if endpoints is None else [] if endpoints == "all" else [each.strip() for each in endpoints.split(",")]
    if priority is None and window is None and names is None:
        raise InvalidRequest("say what to change: --priority, --window or --endpoints")
    job = with_jobs(config, lambda jobs: jobs.steer(job_id, None, priority, window, names))
    print(f"{job.id}  {job.ledger.done:,}/{job.ledger.total:,}  {job_line(job)}")


def resume(
    job_id: JobId,
    config: Config = None,
    max_cost: MaxCost = None,
    no_max_cost: Annotated[bool, typer.Option("--no-max-cost", help="Lift the cap.")] = False,
) -> None:
    """Let a paused job go on: one that was paused with `pause`, after its canary, or, with another cap on its cost, at its
    cap."""

    async def work(jobs: JobAccess) -> Job:
        job = await jobs.job(job_id)
        if max_cost is None and not no_max_cost and job.paused is PauseReason.HELD:
            return await jobs.steer(job_id, held=False)
        if max_cost is None and not no_max_cost and job.canary:
            return await jobs.end_canary(job_id)
        if (max_cost is None) is not no_max_cost:
            raise InvalidRequest("say what the job may cost: either --max-cost USD, or --no-max-cost")
        return await jobs.limit_cost(job_id, max_cost)

    job = with_jobs(config, work)
    print(f"{job.id}  {job.ledger.done:,}/{job.ledger.total:,}  {job_line(job)}")


def retry(
    job_id: JobId,
    config: Config = None,
    errors: Annotated[str, typer.Option(metavar="CODES", help="Only lines that failed with these codes, by comma.")] = "",
    lines: Annotated[str, typer.Option(metavar="NUMBERS", help="These lines, failed or not: 5,9-20 (from 1).")] = "",
    failed: Annotated[bool, typer.Option("--failed", help="All lines that failed, which is the default.")] = False,
    window: Annotated[str, typer.Option(help="How long it may take: 24h, 30m. That of the job, if left out.")] = "",
) -> None:
    """Send lines of a job that has ended again: those that failed. Their results are merged with the others'."""
    if sum(map(bool, (errors, lines, failed))) > 1:
        raise InvalidRequest("choose one of --failed, --errors and --lines")
    selection = RetrySelection.of(errors, lines)
    job = with_jobs(config, lambda jobs: jobs.retry(job_id, selection, window))
    print(f"{job.id}  {job.ledger.done:,}/{job.ledger.total:,}  {job_line(job)}")


def cancel(job_id: JobId, config: Config = None) -> None:
    """Stop a job. What is finished is kept."""
    print(f"{job_id} {with_jobs(config, lambda jobs: jobs.cancel(job_id)).status}")


def list_jobs(config: Config = None, limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20) -> None:
    """List jobs, newest first."""
    try:
        found = with_jobs(config, lambda jobs: jobs.page(limit))
    except NoStore as exc:
        print(exc, file=sys.stderr)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("job", "status", "lines", "completed", "failed", "cost", "created"):
        table.add_column(column, justify="left" if column in ("job", "status", "created") else "right", no_wrap=True)
    for job in found:
        created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.created_at))
        counts = (f"{n:,}" for n in (job.ledger.total, job.ledger.completed, job.ledger.failed))
        table.add_row(job.id, state_of(job), *counts, spent(job), created)
    wide_console().print(table)


def verify(job_id: JobId, config: Config = None) -> None:
    """Check that an ended job lost nothing: every input line is exactly once in its results, in order. Exit code 1 if not."""

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

    sys.exit(0 if with_node(config, work) else 1)


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
        "saved_by_cache": job.saved,
        "hedged_lines": job.hedged,
        "max_cost": job.max_cost,
        "paused": job.paused,
        "waiting": asdict(job.waiting) if job.waiting else None,
        "projection": _projection(job),
        "output_file_id": job.output_file_id,
        "error_file_id": job.error_file_id,
        "created_at": job.created_at,
        **job.times,
    }


def _projection(job: Job) -> dict[str, Any] | None:
    found = project(job)
    if found is None:
        return None
    tokens = {"input": found.prompt_tokens, "output": found.completion_tokens}
    return {"cost": found.cost, "at_least": found.at_least, "tokens": tokens}
