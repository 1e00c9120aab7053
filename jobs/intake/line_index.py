"""The line index of an input: the byte offset of every 64th line, as 64-bit little-endian numbers.

An entry is found by its place, so that a worker reads 16 bytes of the index of a file of any length.
"""

import struct
from collections.abc import AsyncIterator

from jobs.intake.prefix_order import ENTRY
from jobs.records import Job
from jobs.storage import object_store
from jobs.storage.byte_streams import lines_of
from jobs.storage.object_store import ObjectStore

__all__ = ["LINES_PER_ENTRY", "IndexBuilder", "is_blank", "order_of", "read_lines", "read_numbers", "read_places"]

LINES_PER_ENTRY = 64
_ENTRY = struct.Struct("<Q")
AT_ONCE = 64
"""Lines of an order that are read at once: they stand anywhere in the file."""
NUMBERS_AT_ONCE = 65536


class IndexBuilder:
    """Collects the index while a file flows by: 8 bytes for every 64 lines, 2.5 MB for 20 million."""

    def __init__(self) -> None:
        self._entries = bytearray()
        self._lines = 0

    def add(self, offset: int) -> None:
        """Take in that the next line begins at byte `offset`."""
        if self._lines % LINES_PER_ENTRY == 0:
            self._entries += _ENTRY.pack(offset)
        self._lines += 1

    def finish(self, size: int) -> bytes:
        """Return the index; a last entry holds the file's size."""
        return bytes(self._entries + _ENTRY.pack(size))


async def read_lines(store: ObjectStore, file_id: str, first: int, end: int) -> AsyncIterator[tuple[int, bytes]]:
    """Yield lines `first` up to `end` (counted from 0, blank ones don't count) with their numbers.

    Memory: one chunk of the file and one line.
    """
    start, stop = await _byte_range(store, file_id, first, end)
    number = first - first % LINES_PER_ENTRY
    async for lines in lines_of(store.stream(object_store.content_path(file_id), start, stop), with_rest=True):
        for line in lines:
            if not is_blank(line):
                if number >= first:
                    yield number, line
                number += 1
                if number >= end:
                    return


async def read_places(store: ObjectStore, job: Job, first: int, end: int) -> AsyncIterator[tuple[int, int, bytes]]:
    """Yield the lines at the places `first` up to `end` of a job: place, number in the input, and line.

    Only in an ordered job are the first two different. Memory: one chunk of the file, or `AT_ONCE` lines.
    """
    file_id = job.input_file_id
    if not job.ordered:
        async for number, line in read_lines(store, file_id, first, end):
            yield number, number, line
        return
    for start in range(first, end, AT_ONCE):
        entries = await _entries(store, order_of(job), start, min(end, start + AT_ONCE))
        ranges = [(offset, offset + length) for _, length, offset in entries]
        lines = await store.read_ranges(object_store.content_path(file_id), ranges)
        for place, ((number, *_), line) in enumerate(zip(entries, lines, strict=True), start):
            yield place, number, line


async def read_numbers(store: ObjectStore, job: Job, first: int, end: int) -> AsyncIterator[int]:
    """Yield the numbers of the lines at the places `first` up to `end` of an ordered job."""
    for start in range(first, end, NUMBERS_AT_ONCE):
        for number, *_ in await _entries(store, order_of(job), start, min(end, start + NUMBERS_AT_ONCE)):
            yield number


def order_of(job: Job) -> str:
    """Return where the order of an ordered job is: that of its input, or of its round."""
    return object_store.round_order_path(job.round) if job.round else object_store.order_path(job.input_file_id)


async def _entries(store: ObjectStore, path: str, first: int, end: int) -> list[tuple[int, int, int]]:
    content = await store.read_range(path, first * ENTRY.size, end * ENTRY.size)
    return list(ENTRY.iter_unpack(content))


def is_blank(line: bytes) -> bool:
    """Whether a line has nothing but white space; such lines are passed over everywhere."""
    return not line or line.isspace()


async def _byte_range(store: ObjectStore, file_id: str, first: int, end: int) -> tuple[int, int]:
    path = object_store.index_path(file_id)
    from_entry, to_entry = first // LINES_PER_ENTRY, -(-end // LINES_PER_ENTRY)
    start = _ENTRY.unpack(await store.read_range(path, from_entry * 8, from_entry * 8 + 8))[0]
    stop = _ENTRY.unpack(await store.read_range(path, to_entry * 8, to_entry * 8 + 8))[0]
    return int(start), int(stop)
