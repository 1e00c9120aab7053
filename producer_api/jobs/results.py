"""Streams a job's results in line order."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.errors import NotFound
from jobs.records import FileRecord, Job
from jobs.results.formats import request_id
from jobs.results.search import TextSearch
from jobs.service import JobService
from jobs.storage.byte_streams import gathered
from producer_api.http.errors import ApiError, Problem

__all__ = ["LineQuery", "ResultQuery", "files_of", "next_line", "results_of", "search"]

MOST_LINES = 10_000
GATHER = 256 * 1024
"""Bytes of lines that are sent at a time."""
MOST_WORDS = 1000
"""Characters that can be looked for."""
SEARCH_SECONDS = 2.0
"""For how long one request looks for lines that contain a text."""
MOST_FOUND = 4 * 1024 * 1024
"""Bytes of lines that contain a text, after which a request ends; the last line may go beyond."""
SEARCHED_AT_ONCE = 50
"""Lines that are looked through before other requests have their turn."""


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
    of its result), with a `status`, at most `limit`. `with_input` adds each line's request. `contains` chooses those whose
    prompt, answer, error or `custom_id` has a text, and adds the request."""

    start: Annotated[int, Field(ge=0)] = 0
    after: str | None = None
    status: Literal["completed", "failed"] | None = None
    contains: Annotated[str, Field(min_length=1, max_length=MOST_WORDS)] | None = None
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
    return gathered(_with_breaks(_chosen(service, job, first, query), query.limit), GATHER)


async def search(service: JobService, job: Job, first: int, query: ResultQuery, text: str) -> tuple[bytes, int]:
    """Look for a text in the lines from number `first` on, until there are enough or `SEARCH_SECONDS` have passed.

    Return the lines that have it, and the number of the line to go on from, which is the job's number of lines at the end.
    """
    wanted, found, count, size = TextSearch(text), [], 0, 0
    ends = monotonic() + SEARCH_SECONDS
    async for number, line in _chosen(service, job, first, query.model_copy(update={"with_input": True})):
        count += 1
        if wanted.is_in(line):
            found.append(line + b"\n")
            size += len(line)
        if len(found) == query.limit or size > MOST_FOUND or monotonic() > ends:
            return b"".join(found), number + 1
        if count % SEARCHED_AT_ONCE == 0:
            await asyncio.sleep(0)
    return b"".join(found), max(first, job.ledger.total)


def _chosen(service: JobService, job: Job, first: int, query: ResultQuery) -> AsyncIterator[tuple[int, bytes]]:
    lines = service.lines(job, first, None if query.status is None else query.status == "failed")
    return service.with_requests(job, lines) if query.with_input else lines


async def _with_breaks(lines: AsyncIterator[tuple[int, bytes]], limit: int | None) -> AsyncIterator[bytes]:
    count = 0
    async for _, line in lines:
        yield line + b"\n"
        count += 1
        if count == limit:
            return
