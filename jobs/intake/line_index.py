"""The line index of an input: the byte offset of every 64th line, as 64-bit little-endian numbers.

An entry is found by its place, so that a worker reads 16 bytes of the index of a file of any length.
"""

import struct
from collections.abc import AsyncIterator

from jobs.storage import object_store
from jobs.storage.byte_streams import lines_of
from jobs.storage.object_store import ObjectStore

__all__ = ["BOM", "LINES_PER_ENTRY", "IndexBuilder", "is_blank", "line_ranges", "read_lines"]

LINES_PER_ENTRY = 64
_ENTRY = struct.Struct("<Q")
BOM = b"\xef\xbb\xbf"
"""The mark that some editors put before the first line of a file in UTF-8."""


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


async def line_ranges(store: ObjectStore, file_id: str) -> AsyncIterator[tuple[int, int, int]]:
    """Yield the number, the length and the offset of each line of an input. Raises FileNotFoundError."""
    number = offset = 0
    async for lines in lines_of(store.stream(object_store.content_path(file_id)), with_rest=True):
        for line in lines:
            mark = len(BOM) if not offset and line.startswith(BOM) else 0
            if not is_blank(line):
                yield number, len(line) - mark, offset + mark
                number += 1
            offset += len(line) + 1


def is_blank(line: bytes) -> bool:
    """Whether a line has nothing but white space; such lines are passed over everywhere."""
    return not line or line.isspace()


async def _byte_range(store: ObjectStore, file_id: str, first: int, end: int) -> tuple[int, int]:
    path = object_store.index_path(file_id)
    from_entry, to_entry = first // LINES_PER_ENTRY, -(-end // LINES_PER_ENTRY)
    start = _ENTRY.unpack(await store.read_range(path, from_entry * 8, from_entry * 8 + 8))[0]
    stop = _ENTRY.unpack(await store.read_range(path, to_entry * 8, to_entry * 8 + 8))[0]
    return int(start), int(stop)
