"""Reads results in line order from parts, open shards and, for stopped jobs, the input.

Every line of a job stands in exactly one place: a part, the buffer of an open or returned shard, or (not finished) only the
input. A Redis that lost its last second may have had a range cut twice, so parts can overlap; whichever covers a line first
is taken, which is why parts keep the line order.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import orjson

from jobs.dispatch.lease_table import ShardTable
from jobs.errors import LedgerBroken
from jobs.intake.line_index import read_lines
from jobs.intake.line_order import read_numbers, read_places
from jobs.intake.repeats import SIZE, FirstLines
from jobs.records import FileRecord, Job
from jobs.results.blocks import Block, blocks_of, in_blocks, results_of
from jobs.results.formats import error_line, line_number, repeated_line
from jobs.results.input_order import in_input_order
from jobs.results.records import Result, Source
from jobs.results.seeking import results_offset
from jobs.storage import object_store
from jobs.storage.byte_streams import lines_of, whole_lines
from jobs.storage.object_store import ObjectStore, part_range

__all__ = ["Results"]


class Results:
    """Reads results of jobs."""

    def __init__(self, store: ObjectStore, shards: ShardTable) -> None:
        self._store = store
        self._shards = shards

    def finished(self, job: Job, start: int = 0) -> AsyncIterator[Result]:
        """Yield what is finished, by line number from `start` on; lines that aren't are passed over."""
        if job.ordered:
            return self._with_kept(job, self._by_line(job, results_of(self._finished_places(job)), start), start)
        return results_of(self._finished_places(job, start))

    def finished_blocks(self, job: Job) -> AsyncIterator[Block]:
        """Yield what is finished, in blocks."""
        return in_blocks(self.finished(job)) if job.ordered else self._finished_places(job)

    async def _by_line(self, job: Job, results: AsyncIterator[Result], start: int = 0) -> AsyncIterator[Result]:
        """Yield results by line number from `start` on, those of lines that repeat a request among them."""
        if not job.repeats:
            async for result in in_input_order(job, results, start):
                yield result
            return
        with await FirstLines.load(self._store, job.first_lines) as first_lines:
            lines = read_lines(self._store, job.input_file_id, start, job.ledger.total)
            async for result in in_input_order(job, results, start, first_lines):
                first = line_number(job.id, result.line)
                if first == result.number:
                    yield result
                    continue
                async for number, raw in lines:
                    if number == result.number:
                        line = repeated_line(job.id, result.line, number, orjson.loads(raw)["custom_id"])
                        yield replace(result, line=line)
                        break

    async def _with_kept(self, job: Job, results: AsyncIterator[Result], start: int = 0) -> AsyncIterator[Result]:
        """Merge the results of a round with those that it keeps; both come by line number. What is kept of a line counts."""
        if not job.kept:
            async for result in results:
                yield result
            return
        ahead = await anext(results, None)
        async for lines in lines_of(self._store.stream(object_store.kept_path(job.round))):
            for line in lines:
                number = line_number(job.id, line[1:])
                while ahead is not None and ahead.number < number:
                    yield ahead
                    ahead = await anext(results, None)
                if ahead is not None and ahead.number == number:
                    ahead = await anext(results, None)
                if number >= start:
                    yield Result(number, line[1:], Source.FAILED if line[:1] == b"1" else Source.COMPLETED)
        while ahead is not None:
            yield ahead
            ahead = await anext(results, None)

    async def _finished_places(self, job: Job, start: int = 0) -> AsyncIterator[Block]:
        """Yield what is finished, by the numbers of the shards: those of the lines, or places in the job's order."""
        # A shard that is closed between the two stands in both, never in neither.
        buffers = sorted(await self._buffers(job))
        parts = sorted(await self._parts(job), key=lambda r: (r[0], -r[1]))
        position = start
        for first, end in parts:
            if end <= position:
                continue
            async for block in self._from_buffers(job, buffers, position, first):
                yield block
            async for block in self._read_part(job, first, end, position):
                yield block
            position = end
        async for block in self._from_buffers(job, buffers, position, job.places):
            yield block

    async def first_unfinished(self, job: Job, start: int = 0) -> int:
        """Return the number of the first line from `start` on that is not finished (of a job that is under way)."""
        if job.ordered:
            return await self._first_unfinished_in_input(job, start)
        buffers = await self._buffers(job)
        parts = await self._parts(job)
        position = start
        for first, end in sorted([*parts, *buffers], key=lambda r: (r[0], -r[1])):
            if end <= position:
                continue
            if first > position:
                break
            if (first, end) in parts:
                position = end
                continue
            recorded = await self._shards.recorded(job.id, first)
            while position < end and position in recorded:
                position += 1
            if position < end:
                break
        return position

    async def _first_unfinished_in_input(self, job: Job, start: int) -> int:
        """Return the lowest number, from `start` on, at the places that are not finished."""
        lowest, position = job.ledger.total, 0
        finished = [(first, end) for first, end in await self._parts(job)]
        for first, _ in await self._buffers(job):
            finished += [(place, place + 1) for place in await self._shards.recorded(job.id, first)]
        for first, end in [*sorted(finished), (job.places, job.places)]:
            if first > position:
                async for number in read_numbers(self._store, job, position, first):
                    if start <= number < lowest:
                        lowest = number
            position = max(position, end)
        return lowest

    async def one(self, job: Job, number: int) -> bytes | None:
        """Return the result of line `number` of a job that is under way; None if it is not finished.

        Raises FileNotFoundError if the job has ended meanwhile.
        """
        if job.kept and (kept := await self._kept_result(job, number)):
            return kept
        sent = number
        if job.repeats:
            content = await self._store.read_range(job.first_lines, number * SIZE, (number + 1) * SIZE)
            sent = int.from_bytes(content, "little")
        for each in dict.fromkeys((number, sent)):
            place = await self._place_of(job, each) if job.ordered else each
            if place is not None and (line := await self._at(job, place)) is not None:
                return line if each == number else await self._repeated(job, line, number)
        return None

    async def offset(self, record: FileRecord, job_id: str, number: int) -> int:
        """Return the byte at which the results of lines from `number` on begin in a job's output or error file."""
        return await results_offset(self._store, object_store.content_path(record.id), record.size, job_id, number)

    async def _kept_result(self, job: Job, number: int) -> bytes | None:
        path = object_store.kept_path(job.round)
        size = (await self._store.info(path)).size
        start = await results_offset(self._store, path, size, job.id, number, mark=1)
        async for lines in lines_of(self._store.stream(path, start, size)):
            for line in lines:
                return line[1:] if line_number(job.id, line[1:]) == number else None
        return None

    async def _place_of(self, job: Job, number: int) -> int | None:
        place = 0
        async for each in read_numbers(self._store, job, 0, job.places):
            if each == number:
                return place
            place += 1
        return None

    async def _at(self, job: Job, place: int) -> bytes | None:
        for first, end in await self._buffers(job):
            if first <= place < end and (found := (await self._shards.recorded(job.id, first)).get(place)):
                return found[1]
        for first, end in await self._parts(job):
            if first <= place < end:
                async for result in results_of(self._read_part(job, first, end, place)):
                    return result.line
        return None

    async def _repeated(self, job: Job, line: bytes, number: int) -> bytes:
        async for _, raw in read_lines(self._store, job.input_file_id, number, number + 1):
            return repeated_line(job.id, line, number, orjson.loads(raw)["custom_id"])
        raise FileNotFoundError(job.input_file_id)

    def all_blocks(self, job: Job) -> AsyncIterator[Block]:
        """Yield every line of a job that has ended, in blocks; unfinished lines become error lines according to the way it ended.

        Raises LedgerBroken if there are such lines and the job was not stopped.
        """
        if job.ordered:
            return in_blocks(self._with_kept(job, self._by_line(job, results_of(self._all_places(job)))))
        return self._all_places(job)

    async def _all_places(self, job: Job) -> AsyncIterator[Block]:
        position = 0
        async for block in self._finished_places(job):
            async for stopped in in_blocks(self._stopped(job, position, block.first)):
                yield stopped
            yield block
            position = block.end
        async for stopped in in_blocks(self._stopped(job, position, job.places)):
            yield stopped

    async def _stopped(self, job: Job, first: int, end: int) -> AsyncIterator[Result]:
        if first >= end:
            return
        if job.ending not in _ENDINGS:
            raise LedgerBroken(f"lines {first + 1} to {end} of job {job.id} are neither in a part nor in a buffer")
        code, message = _ENDINGS[job.ending]
        async for line in read_places(self._store, job, first, end):
            custom_id = orjson.loads(line.raw)["custom_id"]
            yield Result(line.place, error_line(job.id, line.number, custom_id, code, message), Source.STOPPED)

    async def _parts(self, job: Job) -> set[tuple[int, int]]:
        found = await self._store.folder(object_store.parts_folder(job.id, job.round))
        return {part_range(entry.path) for entry in found}

    async def _buffers(self, job: Job) -> list[tuple[int, int]]:
        opened = [(first, int(state["end"])) for first in await self._shards.open_of(job.id)
                  if (state := await self._shards.state(job.id, first))]  # fmt: skip
        return opened + await self._shards.returned_of(job.id)

    async def _from_buffers(self, job: Job, buffers: list[tuple[int, int]], start: int, stop: int) -> AsyncIterator[Block]:
        # Each buffer makes blocks of its own: the next one is read when these have been taken, since it may be closed meanwhile.
        for first, end in buffers:
            if first < stop and end > start:
                async for block in in_blocks(self._read_buffer(job, first, end, start, stop)):
                    yield block

    async def _read_buffer(self, job: Job, first: int, end: int, start: int, stop: int) -> AsyncIterator[Result]:
        recorded = await self._shards.recorded(job.id, first)
        if not recorded:
            # Nothing is finished, or the shard was closed since the parts were listed: then its part is there.
            with suppress(FileNotFoundError):
                async for result in results_of(self._read_part(job, first, end, start)):
                    if result.number < stop:
                        yield result
            return
        for number, (failed, line) in sorted(recorded.items()):
            if start <= number < stop:
                yield Result(number, line, Source.FAILED if failed else Source.COMPLETED)

    async def _read_part(self, job: Job, first: int, end: int, position: int) -> AsyncIterator[Block]:
        async for marked in whole_lines(self._store.stream(object_store.part_path(job.id, first, end, job.round))):
            for block in blocks_of(marked, first):
                if block.end > position:
                    yield block.from_line(position)
                first = block.end


_ENDINGS = {
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was finished."),
    "expired": ("batch_expired", "The batch's time ran out before this request was finished."),
}
