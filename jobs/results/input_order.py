"""Sorts the results of an ordered job by the lines of its input, on disk.

The lines go to one temporary file as they come, and where each one stands to a bucket of neighbouring numbers. The buckets are
sorted one after the other. Memory: one bucket's entries, whatever the number of lines and their size.
"""

import asyncio
import struct
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from typing import IO

from jobs.results.formats import line_number
from jobs.results.records import Result, Source

__all__ = ["in_input_order"]

_ENTRY = struct.Struct("<IBIQ")
"""A line's number, its source, its length, and where it stands."""
_SOURCES = tuple(Source)
LINES_PER_BUCKET = 65536
BUFFER = 1024 * 1024
BUCKET_BUFFER = 64 * 1024
AT_ONCE = 4 * 1024 * 1024
"""Bytes of lines that are read at once."""


async def in_input_order(job_id: str, results: AsyncIterator[Result], first: int = 0) -> AsyncIterator[Result]:
    """Yield the results from line `first` on, by the numbers in their ids."""
    with _Sorter() as sorter:
        async for result in results:
            number = line_number(job_id, result.line)
            if number >= first and sorter.add(number, result):
                await asyncio.to_thread(sorter.spill)
        await asyncio.to_thread(sorter.spill)
        for bucket in sorter.buckets():
            for batch in _batches(await asyncio.to_thread(sorter.entries, bucket)):
                for result in await asyncio.to_thread(sorter.read, batch):
                    yield result


_Entries = Sequence[tuple[int, int, int, int]]


class _Sorter:
    def __init__(self) -> None:
        self._stack = ExitStack()
        self._lines = self._file()
        self._buffer = bytearray()
        self._offset = 0
        self._entries: dict[int, bytearray] = {}
        self._files: dict[int, IO[bytes]] = {}

    def __enter__(self) -> "_Sorter":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def _file(self) -> IO[bytes]:
        return self._stack.enter_context(tempfile.TemporaryFile())

    def add(self, number: int, result: Result) -> bool:
        """Take a result in; return whether it is time to `spill`."""
        entry = _ENTRY.pack(number, _SOURCES.index(result.source), len(result.line), self._offset)
        self._entries.setdefault(number // LINES_PER_BUCKET, bytearray()).extend(entry)
        self._buffer += result.line
        self._offset += len(result.line)
        return len(self._buffer) >= BUFFER

    def spill(self) -> None:
        self._lines.write(self._buffer)
        self._lines.flush()
        self._buffer.clear()
        for bucket, entries in self._entries.items():
            if len(entries) >= BUCKET_BUFFER:
                if bucket not in self._files:
                    self._files[bucket] = self._file()
                self._files[bucket].write(entries)
                entries.clear()

    def buckets(self) -> list[int]:
        return sorted(self._entries)

    def entries(self, bucket: int) -> _Entries:
        """Return a bucket's entries, by number."""
        content = bytes(self._entries[bucket])
        if file := self._files.get(bucket):
            file.seek(0)
            content = file.read() + content
        return sorted(_ENTRY.iter_unpack(content))

    def read(self, entries: _Entries) -> list[Result]:
        found = []
        for number, source, length, offset in entries:
            self._lines.seek(offset)
            found.append(Result(number, self._lines.read(length), _SOURCES[source]))
        return found


def _batches(entries: _Entries) -> Iterator[_Entries]:
    """Split entries so that the lines of each part come to `AT_ONCE` bytes, or to a bit more."""
    start = size = 0
    for end, (_, _, length, _) in enumerate(entries, 1):
        size += length
        if size >= AT_ONCE or end == len(entries):
            yield entries[start:end]
            start, size = end, 0
