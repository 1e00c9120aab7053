"""Streams a job's results in line order."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.errors import NotFound
from jobs.records import FileRecord, Job
from jobs.results.formats import request_id
from jobs.service import JobService
from jobs.storage.byte_streams import gathered
from producer_api.http.errors import ApiError, Problem

__all__ = ["LineQuery", "ResultQuery", "files_of", "next_line", "results_of"]

MOST_LINES = 10_000
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


class LineQuery(BaseModel):
    """How to show a result: with `with_input`, its request beside it."""

    model_config = ConfigDict(extra="forbid")

    with_input: bool = False


class ResultQuery(LineQuery):
    """Which results to read: those of lines from number `start` (from 0) or behind the line `after` (its `custom_id`, or the `id`
    of its result), with a `status`, at most `limit`. `with_input` adds each line's request."""

    start: Annotated[int, Field(ge=0)] = 0
    after: str | None = None
    status: Literal["completed", "failed"] | None = None
    limit: Annotated[int, Field(ge=1, le=MOST_LINES)] | None = None

    async def first(self, service: JobService, job: Job) -> int:
        """Return the number of the first line. Raises NotFound for `after`."""
        if self.after is None:
            return self.start
        own = self.after.startswith(request_id(job.id, 0)[:-9]) and self.after[-9:].isdecimal()
        return max(self.start, 1 + (int(self.after[-9:]) if own else await service.number_of(job, self.after)))


EVERYTHING = ResultQuery()


def results_of(service: JobService, job: Job, first: int, query: ResultQuery = EVERYTHING) -> AsyncIterator[bytes]:
    """Yield the lines of a job from number `first` on, some at a time."""
    lines = service.lines(job, first, None if query.status is None else query.status == "failed")
    if query.with_input:
        lines = service.with_requests(job, lines)
    return gathered(_with_breaks(lines, query.limit), GATHER)


async def _with_breaks(lines: AsyncIterator[tuple[int, bytes]], limit: int | None) -> AsyncIterator[bytes]:
    count = 0
    async for _, line in lines:
        yield line + b"\n"
        count += 1
        if count == limit:
            return
