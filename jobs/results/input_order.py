"""Sorts the results of an ordered job by the lines of its input, on disk.

The lines go to one temporary file as they come, and where each one stands to another one, by number. Memory: some blocks of it,
whatever the number of lines and their size.
"""

import asyncio
import mmap
import struct
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack

from jobs.intake.repeats import FirstLines
from jobs.records import Job
from jobs.results.formats import line_number
from jobs.results.records import Result, Source

__all__ = ["in_input_order"]

_ENTRY = struct.Struct("<BIQ")
"""A line's source (0: there is no result), its length, and where it stands."""
_SOURCES = tuple(Source)
BLOCK = 65536
"""Entries that are read at once."""
BUFFER = 1024 * 1024
AT_ONCE = 4 * 1024 * 1024
"""Bytes of lines that are read at once."""


async def in_input_order(
    job: Job, results: AsyncIterator[Result], first: int = 0, first_lines: FirstLines | None = None
) -> AsyncIterator[Result]:
    """Yield the results from line `first` on, by the numbers in their ids.

    With `first_lines`, the result of a line comes once more for each line that repeats its request, with that line's number.
    """
    with _Sorter(job.ledger.total, first_lines) as sorter:
        async for result in results:
            number = line_number(job.id, result.line)
            if (first_lines is not None or number >= first) and sorter.add(number, result):
                await asyncio.to_thread(sorter.spill)
        await asyncio.to_thread(sorter.spill)
        for start in range(first - first % BLOCK, job.ledger.total, BLOCK):
            entries = await asyncio.to_thread(sorter.entries, start, first)
            for batch in _batches(entries):
                for result in await asyncio.to_thread(sorter.read, batch):
                    yield result


_Entries = Sequence[tuple[int, int, int, int]]
"""Numbers, sources, lengths and offsets."""


class _Sorter:
    def __init__(self, total: int, first_lines: FirstLines | None) -> None:
        self._total = total
        self._first_lines = first_lines
        self._stack = ExitStack()
        self._lines = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack closes it)
        self._buffer = bytearray()
        self._offset = 0
        entries = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        entries.truncate(total * _ENTRY.size)
        self._entries = self._stack.enter_context(mmap.mmap(entries.fileno(), total * _ENTRY.size))
        self._blocks: set[int] = set()
        """Those that have entries."""

    def __enter__(self) -> "_Sorter":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def add(self, number: int, result: Result) -> bool:
        """Take a result in; return whether it is time to `spill`."""
        source = _SOURCES.index(result.source) + 1
        _ENTRY.pack_into(self._entries, number * _ENTRY.size, source, len(result.line), self._offset)
        self._blocks.add(number // BLOCK)
        self._buffer += result.line
        self._offset += len(result.line)
        return len(self._buffer) >= BUFFER

    def spill(self) -> None:
        self._lines.write(self._buffer)
        self._lines.flush()
        self._buffer.clear()

    def entries(self, start: int, first: int) -> _Entries:
        """Return the entries from `start` on, up to a block, without those before `first`."""
        end = min(self._total, start + BLOCK)
        if self._first_lines is None:
            if start // BLOCK not in self._blocks:
                return []
            block = self._entries[start * _ENTRY.size : end * _ENTRY.size]
            found: Iterator[tuple[int, tuple[int, int, int]]] = enumerate(_ENTRY.iter_unpack(block), start)
        else:
            found = ((number, self._own_or_first(number, self._first_lines)) for number in range(start, end))
        return [(number, *entry) for number, entry in found if entry[0] and number >= first]

    def _own_or_first(self, number: int, first_lines: FirstLines) -> tuple[int, int, int]:
        own = _ENTRY.unpack_from(self._entries, number * _ENTRY.size)
        return own if own[0] else _ENTRY.unpack_from(self._entries, first_lines[number] * _ENTRY.size)

    def read(self, entries: _Entries) -> list[Result]:
        found = []
        for number, source, length, offset in entries:
            self._lines.seek(offset)
            found.append(Result(number, self._lines.read(length), _SOURCES[source - 1]))
        return found


def _batches(entries: _Entries) -> Iterator[_Entries]:
    """Split entries so that the lines of each part come to `AT_ONCE` bytes, or to a bit more."""
    start = size = 0
    for end, (_, _, length, _) in enumerate(entries, 1):
        size += length
        if size >= AT_ONCE or end == len(entries):
            yield entries[start:end]
            start, size = end, 0
