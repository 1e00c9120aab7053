"""A job's results as a stream of lines: while it runs what is finished, after its end everything, always in line order."""

from bisect import bisect_right
from collections.abc import AsyncIterator

from jobs.errors import NotFound
from jobs.intake.files import Files
from jobs.records import FileRecord, Job
from jobs.results.reading import line_number
from jobs.service import JobService
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


async def results_of(service: JobService, job: Job, start: int) -> AsyncIterator[bytes]:
    """Yield the lines of a job from number `start` on, some at a time."""
    held = bytearray()
    async for line in _lines(service, job, start):
        held += line
        held += b"\n"
        if len(held) >= GATHER:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


async def _lines(service: JobService, job: Job, start: int) -> AsyncIterator[bytes]:
    sent = _Ranges()
    if not job.is_final:
        gone: FileNotFoundError | None = None
        try:
            async for result in service.finished_lines(job, start):
                yield result.line
                sent.add(result.number)
        except FileNotFoundError as exc:
            gone = exc
        # A job that has ended on the way took its parts with it: what was missed stands in its files.
        job = await service.jobs.get(job.id)
        if not job.is_final:
            if gone:
                raise gone
            return
    async for number, line in _merged(service.files, job, await files_of(service, job)):
        if number >= start and number not in sent:
            yield line


class _Ranges:
    """A set of line numbers that come in ascending order, mostly without gaps: it takes room for the gaps only."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []

    def add(self, number: int) -> None:
        if self._ends and self._ends[-1] == number:
            self._ends[-1] = number + 1
        else:
            self._firsts.append(number)
            self._ends.append(number + 1)

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._firsts, number) - 1
        return place >= 0 and number < self._ends[place]


Numbered = tuple[int, bytes]


async def _merged(files: Files, job: Job, records: list[FileRecord]) -> AsyncIterator[Numbered]:
    """Merge files, each of them in line order."""
    streams = [_numbered(files.content(record), job) for record in records]
    heads = [await anext(stream, None) for stream in streams]
    while any(heads):
        number, line = min(head for head in heads if head)
        for i, head in enumerate(heads):
            if head and head[0] == number:
                heads[i] = await anext(streams[i], None)
                break
        yield number, line


async def _numbered(chunks: AsyncIterator[bytes], job: Job) -> AsyncIterator[Numbered]:
    rest = b""
    async for chunk in chunks:
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield line_number(job.id, line), line
