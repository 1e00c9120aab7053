"""The order in which the lines of a job are sent where it is not that of the input: which line stands at which place.

An order is a file of entries, one for each place: the line's number, its length, and one number with the byte at which it begins
(the lower 40 bits) and how many other lines get its result (the upper 24). Shards, parts, the cursor and the ledger of such a job
count places.
"""

import struct
from collections.abc import AsyncIterator
from typing import NamedTuple

from jobs.intake.line_index import read_lines
from jobs.records import Job
from jobs.storage import object_store
from jobs.storage.object_store import ObjectStore

__all__ = ["ENTRY", "MOST_REPEATS", "LineAt", "entry", "order_of", "read_entries", "read_numbers", "read_places"]

ENTRY = struct.Struct("<IIQ")
MOST_REPEATS = (1 << 24) - 1
AT_ONCE = 64
"""Lines of an order that are read at once: they stand anywhere in the file."""
ENTRIES_AT_ONCE = 65536

_OFFSET_BITS = 40
_OFFSET = (1 << _OFFSET_BITS) - 1

Entry = tuple[int, int, int, int]
"""A line's number, its length, the byte at which it begins, and how many other lines get its result."""


class LineAt(NamedTuple):
    """A line at its place. `repeats` counts the other lines that get its result."""

    place: int
    number: int
    raw: bytes
    repeats: int = 0


def entry(number: int, length: int, offset: int, repeats: int = 0) -> bytes:
    """Return the entry of a line."""
    return ENTRY.pack(number, length, offset | repeats << _OFFSET_BITS)


def unpack(entries: bytes) -> list[Entry]:
    """Return the entries in bytes."""
    return [(number, size, where & _OFFSET, where >> _OFFSET_BITS) for number, size, where in ENTRY.iter_unpack(entries)]


def order_of(job: Job) -> str:
    """Return where the order of an ordered job is: that of its input, or of its round."""
    return object_store.round_order_path(job.round) if job.round else object_store.order_path(job.input_file_id)


async def read_places(store: ObjectStore, job: Job, first: int, end: int) -> AsyncIterator[LineAt]:
    """Yield the lines at the places `first` up to `end` of a job. Memory: one chunk of the file, or `AT_ONCE` lines."""
    file_id = job.input_file_id
    if not job.ordered:
        async for number, line in read_lines(store, file_id, first, end):
            yield LineAt(number, number, line)
        return
    for start in range(first, end, AT_ONCE):
        entries = await _read(store, order_of(job), start, min(end, start + AT_ONCE))
        ranges = [(offset, offset + length) for _, length, offset, _ in entries]
        lines = await store.read_ranges(object_store.content_path(file_id), ranges)
        for place, ((number, _, _, repeats), line) in enumerate(zip(entries, lines, strict=True), start):
            yield LineAt(place, number, line, repeats)


async def read_numbers(store: ObjectStore, job: Job, first: int, end: int) -> AsyncIterator[int]:
    """Yield the numbers of the lines at the places `first` up to `end` of an ordered job."""
    for start in range(first, end, ENTRIES_AT_ONCE):
        for number, *_ in await _read(store, order_of(job), start, min(end, start + ENTRIES_AT_ONCE)):
            yield number


async def read_entries(store: ObjectStore, path: str, places: int) -> AsyncIterator[Entry]:
    """Yield the entries of the order at `path`, which has that many."""
    for start in range(0, places, ENTRIES_AT_ONCE):
        for each in await _read(store, path, start, min(places, start + ENTRIES_AT_ONCE)):
            yield each


async def _read(store: ObjectStore, path: str, first: int, end: int) -> list[Entry]:
    return unpack(await store.read_range(path, first * ENTRY.size, end * ENTRY.size))
