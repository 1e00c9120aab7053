"""The index of an input's ids: which line has a `custom_id`.

It is a file of entries in ascending order, one for each line: the first 8 bytes of the id's digest (see jobs.intake.uniqueness)
and the line's number. Digests are spread evenly, so that an entry is found near where it would be if they were evenly spaced.
"""

import struct
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice

import orjson

from jobs.intake.line_index import read_lines
from jobs.intake.uniqueness import digest_of
from jobs.records import FileRecord
from jobs.storage import object_store
from jobs.storage.object_store import ObjectStore

__all__ = ["find_line", "index_chunks"]

_ENTRY = struct.Struct(">8sI")
WINDOW = 2048
"""Entries that are read at once: at a million lines, one is most often within 1,000 of where it is expected."""
ENTRIES_PER_CHUNK = 65_536


def index_chunks(entries: Iterable[tuple[bytes, int]]) -> Iterator[bytes]:
    """Return the index, of digests in ascending order with the numbers of their lines."""
    packed = (_ENTRY.pack(digest[:8], number) for digest, number in entries)
    while chunk := b"".join(islice(packed, ENTRIES_PER_CHUNK)):
        yield chunk


async def find_line(store: ObjectStore, file: FileRecord, custom_id: str) -> int | None:
    """Return the number (from 0) of the line with this id, None if there is none. Raises FileNotFoundError."""
    async for number in _candidates(store, file, digest_of(custom_id.encode("utf-8", "surrogatepass"))[:8]):
        async for _, raw in read_lines(store, file.id, number, number + 1):
            if orjson.loads(raw)["custom_id"] == custom_id:
                return number
    return None


async def _candidates(store: ObjectStore, file: FileRecord, wanted: bytes) -> AsyncIterator[int]:
    low, high = 0, file.lines or 0
    expected = int.from_bytes(wanted) * high >> 64
    while low < high:
        start = max(low, expected - WINDOW // 2)
        end = min(high, start + WINDOW)
        content = await store.read_range(object_store.ids_path(file.id), start * _ENTRY.size, end * _ENTRY.size)
        entries = list(_ENTRY.iter_unpack(content))
        for digest, number in entries:
            if digest == wanted:
                yield number
        if wanted < entries[0][0]:
            high = start
        elif wanted > entries[-1][0]:
            low = end
        else:
            return
        expected = (low + high) // 2
