"""`results`: prints or writes a job's results, complete or so far."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer

from api_roadbalancer.cli.common import JobId, with_jobs
from api_roadbalancer.cli.processes import Config
from api_roadbalancer.cli.run import exit_code
from api_roadbalancer.local_jobs import JobAccess
from api_roadbalancer.user_files.local_files import errors_path, write_whole
from api_roadbalancer.user_files.result_files import check_place, refuse_foreign
from jobs.records import Job

__all__ = ["results"]

LOOK_EVERY = 0.5
"""Seconds between looks at a job that is followed."""


def results(
    job_id: JobId,
    config: Config = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File for the output; errors go beside it.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    custom_id: Annotated[str | None, typer.Option("--id", metavar="CUSTOM_ID", help="The result of this line alone.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only lines that did not complete.")] = False,
    with_input: Annotated[bool, typer.Option("--with-input", help="Put each line's request into its result.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that holds something else.")] = False,
) -> None:
    """Write a job's results: all of an ended one, what is finished of one under way, in line order.

    Exit code 1 if the job has ended and some lines did not complete.
    """

    async def work(jobs: JobAccess) -> Job:
        job = await jobs.job(job_id)
        if custom_id is not None:
            _out(await jobs.result(job, custom_id, with_input) + b"\n")
            return job
        if out is not None:
            check_place(out)
            refuse_foreign(out, [job_id], force)
        reader = _Reader(jobs, failed, with_input)
        if follow and out is None:
            return await _follow(reader, job)
        while follow and not job.is_final:
            await asyncio.sleep(LOOK_EVERY)
            job = await jobs.job(job_id)
        if out is None:
            await _print_all(reader.whole(job))
        else:
            await _write(reader, job, out)
        return job

    job = with_jobs(config, work)
    sys.exit(exit_code(job) if job.is_final else 0)


class _Reader:
    """Reads the lines that were asked for: with `only_failed` those that did not complete, with `with_input` with their
    requests."""

    def __init__(self, jobs: JobAccess, only_failed: bool, with_input: bool) -> None:
        self.jobs = jobs
        self.only_failed = only_failed
        self._with_input = with_input

    async def whole(self, job: Job, start: int = 0) -> AsyncIterator[bytes]:
        """Yield the lines from number `start` on: of an ended job those that completed, then those that failed."""
        if not job.is_final:
            async for _, line in self.numbered(job, start, True if self.only_failed else None):
                yield line + b"\n"
            return
        for failed in (True,) if self.only_failed else (False, True):
            async for chunk in self.file(job, failed, start):
                yield chunk

    async def file(self, job: Job, failed: bool, start: int = 0) -> AsyncIterator[bytes]:
        """Yield the lines of an ended job's output or error file."""
        if not start and not self._with_input:
            async for chunk in await self.jobs.output(job, "error" if failed else "output") or _nothing():
                yield chunk
            return
        async for _, line in self.numbered(job, start, failed):
            yield line + b"\n"

    def numbered(self, job: Job, start: int, failed: bool | None = None) -> AsyncIterator[tuple[int, bytes]]:
        """Yield lines with their numbers."""
        return self.jobs.lines(job, start, failed, self._with_input)


async def _follow(reader: _Reader, job: Job) -> Job:
    """Print each line as soon as all lines before it are finished."""
    following = 0
    while not job.is_final:
        following, gone = await _print_finished(reader, job, following)
        if gone is None:
            await asyncio.sleep(LOOK_EVERY)
        job = await reader.jobs.job(job.id)
        if gone is not None and not job.is_final:
            raise gone
    await _print_all(reader.whole(job, following))
    return job


async def _print_finished(reader: _Reader, job: Job, first: int) -> tuple[int, FileNotFoundError | None]:
    """Print the lines from `first` on up to one that is not finished, and return its number; with the error if parts were gone,
    as they are when the job has ended."""
    try:
        following = await reader.jobs.first_unfinished(job, first)
        async for number, line in reader.numbered(job, first, True if reader.only_failed else None):
            if number >= following:
                break
            _out(line + b"\n")
            first = number + 1
    except FileNotFoundError as exc:
        return first, exc
    return following, None


async def _write(reader: _Reader, job: Job, out: Path) -> None:
    if not job.is_final or reader.only_failed:
        await write_whole(out, reader.whole(job))
        return
    await write_whole(out, reader.file(job, failed=False))
    if job.error_file_id:
        await write_whole(errors_path(out), reader.file(job, failed=True))


async def _print_all(chunks: AsyncIterator[bytes]) -> None:
    async for chunk in chunks:
        _out(chunk)


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for chunk in nothing:
        yield chunk


def _out(content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
