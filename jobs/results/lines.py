"""Reads all results of a job in line order, even if the job ends meanwhile."""

from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import suppress

from jobs.intake.files import Files
from jobs.records import FileRecord, Job
from jobs.results.formats import line_number
from jobs.results.reading import Results
from jobs.results.records import Source
from jobs.storage.byte_streams import lines_of
from jobs.storage.job_store import JobStore

__all__ = ["Ranges", "all_lines", "line_result"]

Numbered = tuple[int, bytes]
"""The number of an input line (from 0), and its result."""


async def all_lines(
    results: Results, files: Files, jobs: JobStore, job: Job, start: int, failed: bool | None = None
) -> AsyncIterator[Numbered]:
    """Yield what is finished from line `start` on; everything, if the job has ended or ends meanwhile. `failed` chooses those
    that did not complete, or (False) those that did.

    Raises NotFound if the files of an ended job were deleted, FileNotFoundError if parts of a running one are lost.
    """
    sent = Ranges()
    if not job.is_final:
        gone: FileNotFoundError | None = None
        try:
            async for result in results.finished(job, start):
                if failed in (None, result.source is not Source.COMPLETED):
                    yield result.number, result.line
                sent.add(result.number)
        except FileNotFoundError as exc:
            gone = exc
        # A job that has ended meanwhile has joined its parts: what was missed is in its files.
        job = await jobs.get(job.id)
        if not job.is_final:
            if gone:
                raise gone
            return
    async for number, line in _merged(results, files, job, await _records(files, job, failed), start):
        if number not in sent:
            yield number, line


async def line_result(results: Results, files: Files, jobs: JobStore, job: Job, number: int) -> bytes | None:
    """Return the result of line `number`, None if it is not finished. Raises NotFound if the files of an ended job were
    deleted."""
    if not job.is_final:
        with suppress(FileNotFoundError):
            if line := await results.one(job, number):
                return line
        job = await jobs.get(job.id)
    if job.is_final:
        async for found, line in _merged(results, files, job, await _records(files, job), number):
            return line if found == number else None
    return None


async def _records(files: Files, job: Job, failed: bool | None = None) -> list[FileRecord]:
    chosen = ((False, job.output_file_id), (True, job.error_file_id))
    return [await files.get(file_id) for has_failed, file_id in chosen if file_id and failed in (None, has_failed)]


class Ranges:
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


async def _merged(results: Results, files: Files, job: Job, records: list[FileRecord], start: int) -> AsyncIterator[Numbered]:
    """Merge files, each of them in line order, from line `start` on."""
    offsets = [await results.offset(record, job.id, start) for record in records]
    streams = [_numbered(files.content(record, offset), job) for record, offset in zip(records, offsets, strict=True)]
    heads = [await anext(stream, None) for stream in streams]
    while any(heads):
        number, line = min(head for head in heads if head)
        for i, head in enumerate(heads):
            if head and head[0] == number:
                heads[i] = await anext(streams[i], None)
                break
        yield number, line


async def _numbered(chunks: AsyncIterator[bytes], job: Job) -> AsyncIterator[Numbered]:
    async for lines in lines_of(chunks):
        for line in lines:
            yield line_number(job.id, line), line
