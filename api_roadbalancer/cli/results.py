"""`results`: prints or writes a job's results, complete or so far."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer

from api_roadbalancer.cli.common import JobId, with_node
from api_roadbalancer.cli.processes import Config
from api_roadbalancer.cli.run import exit_code
from api_roadbalancer.local_files import errors_path, write_whole
from api_roadbalancer.result_files import check_place, refuse_foreign
from jobs.node import Node
from jobs.records import Job
from jobs.results.formats import line_number
from jobs.storage.byte_streams import lines_of

__all__ = ["results"]

LOOK_EVERY = 0.5
"""Seconds between looks at a job that is followed."""


def results(
    job_id: JobId,
    config: Config = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File for the output; errors go beside it.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that holds something else.")] = False,
) -> None:
    """Write a job's results: all of an ended one, what is finished of one under way, in line order.

    Exit code 1 if the job has ended and some lines did not complete.
    """

    async def work(node: Node) -> Job:
        job = await node.service.jobs.get(job_id)
        if out is not None:
            check_place(out)
            refuse_foreign(out, [job_id], force)
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

    job = with_node(config, work)
    sys.exit(exit_code(job) if job.is_final else 0)


async def _follow(node: Node, job: Job) -> Job:
    """Print each line as soon as all lines before it are finished."""
    following = 0
    while True:
        final = job.is_final
        if not final:
            following, gone = await _print_finished(node, job, following)
            if gone is None:
                await asyncio.sleep(LOOK_EVERY)
            job = await node.service.jobs.get(job.id)
            if gone is not None and not job.is_final:
                raise gone
            continue
        await _print(node, job, following)
        return job


async def _print_finished(node: Node, job: Job, first: int) -> tuple[int, FileNotFoundError | None]:
    """Print the lines from `first` on up to one that is not finished, and return its number; with the error if parts were gone,
    as they are when the job has ended."""
    try:
        async for result in node.service.finished_lines(job, first):
            if result.number != first:
                break
            _out(result.line + b"\n")
            first += 1
    except FileNotFoundError as exc:
        return first, exc
    return first, None


async def _print(node: Node, job: Job, skip: int) -> None:
    """Print the results from line `skip` (from 0) on; of an ended job the output, then the errors."""
    if not job.is_final:
        async for _, line in node.service.lines(job, skip):
            _out(line + b"\n")
        return
    for kind in ("output", "error"):
        content = await node.service.output(job, kind)
        if content is not None:
            async for chunk in _from_line(job, content, skip) if skip else content:
                _out(chunk)


async def _from_line(job: Job, content: AsyncIterator[bytes], first: int) -> AsyncIterator[bytes]:
    """Leave out what stands before line `first` of the input; both files are in the input's order."""
    async for lines in lines_of(content):
        for line in lines:
            if line_number(job.id, line) >= first:
                yield line + b"\n"


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
        async for _, line in node.service.lines(job, start):
            yield line + b"\n"


def _out(content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
