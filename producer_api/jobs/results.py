"""Streams a job's results in line order."""

from collections.abc import AsyncIterator

from jobs.errors import NotFound
from jobs.records import FileRecord, Job
from jobs.service import JobService
from jobs.storage.byte_streams import gathered
from producer_api.http.errors import ApiError, Problem

__all__ = ["files_of", "next_line", "results_of"]

GATHER = 256 * 1024
"""Bytes of lines that are sent at a time."""


async def next_line(service: JobService, job: Job, start: int) -> int:
    """Return the line to go on from after reading from `start`: the first one that is not finished yet."""
    if job.is_final:
        return max(start, job.ledger.total)
    return await service.results.first_unfinished(job, start)


async def files_of(service: JobService, job: Job) -> list[FileRecord]:
    """Return the output and the error file of an ended job, as far as it has them. Raises ApiError if one was deleted."""
    ids = [file_id for file_id in (job.output_file_id, job.error_file_id) if file_id]
    try:
        return [await service.files.get(file_id) for file_id in ids]
    except NotFound as exc:
        message = f"the results were deleted or have expired: {exc}"
        raise ApiError(Problem(404, message, code="results_deleted")) from exc


def results_of(service: JobService, job: Job, start: int) -> AsyncIterator[bytes]:
    """Yield the lines of a job from number `start` on, some at a time."""
    return gathered(_with_breaks(service.lines(job, start)), GATHER)


async def _with_breaks(lines: AsyncIterator[tuple[int, bytes]]) -> AsyncIterator[bytes]:
    async for _, line in lines:
        yield line + b"\n"
