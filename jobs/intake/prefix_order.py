"""The order in which lines with a common prefix are neighbours, found while an input streams by.

Model servers keep the work of prompts that begin alike (blocks of tokens, hashed from the start), as long as such prompts come
soon after each other. The prefix that two prompts share is found with hashes of their first bytes at a few lengths, so that
groups nest: a system prompt, documents below it, examples below those. The order is a permutation of the lines, sorted by these
hashes.
"""

import mmap
import struct
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, Any
from zlib import crc32

import orjson

__all__ = ["ENTRY", "PrefixOrder"]

ENTRY = struct.Struct("<IIQ")
"""One line in the order: its number, its length, and the byte at which it begins."""
CUTS = ((0, 256), (256, 512), (512, 1024), (1024, 2048), (2048, 4096), (4096, 8192), (8192, 16384))
"""Bytes from the beginning of the messages; servers share blocks of 64 to 500 bytes."""
SAMPLE = 4096
"""Lines after which it is decided whether looking further is worth it."""
LEAST_SHARED = 0.05
"""Share of the lines, at some cut, that have to begin like another one."""
LEAD = 16
"""Lines by which the first line of a group goes ahead of the others."""
MOST_GROUPS = 200_000
"""Groups that are kept (some 40 MB). Beyond, lines are grouped by the hash of their first cut alone."""
BUFFER = 1024 * 1024

_HASH = 4
"""Bytes of a hash."""
_TAKEN = struct.Struct("<IIQ")
"""One line as it came: its group, its length, and where it begins."""


class PrefixOrder:
    """Takes lines in; `chunks` gives the order as a file, nothing if it would gain nothing. A context manager, for its temporary
    files. Memory: the groups, and 4 bytes for each."""

    def __init__(self) -> None:
        self._groups: dict[bytes, int] = {}
        self._sizes = array("L")
        self._lines = 0
        self._depth = len(CUTS)
        self._buffer = bytearray()
        self._stack = ExitStack()
        self._taken: IO[bytes] | None = None
        self._given_up = False

    def __enter__(self) -> "PrefixOrder":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def add(self, line: bytes, tools: Any, offset: int) -> None:
        """Take in the next line, which begins at byte `offset` of the kept file."""
        if self._given_up:
            return
        key = _key(line, tools, self._depth)
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= MOST_GROUPS:
                key = key[:_HASH]
            group = self._groups.setdefault(key, len(self._groups))
            if group == len(self._sizes):
                self._sizes.append(0)
        self._sizes[group] += 1
        self._buffer += _TAKEN.pack(group, len(line), offset)
        self._lines += 1
        if self._lines == SAMPLE:
            self._depth = self._useful_depth()
            if not self._depth:
                self._give_up()
        if len(self._buffer) >= BUFFER:
            self._spill()

    def chunks(self) -> Iterator[bytes]:
        """Yield the order: an `ENTRY` for each line. Blocks for the sorting."""
        if self._given_up or not self._useful_depth():
            return
        self._spill()
        assert self._taken is not None
        size = self._lines * ENTRY.size
        ordered = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack closes it)
        ordered.truncate(size)
        places = self._first_places()
        with mmap.mmap(ordered.fileno(), size) as sorted_:
            self._taken.seek(0)
            number = 0
            while content := self._taken.read(BUFFER):
                for group, length, offset in _TAKEN.iter_unpack(content):
                    ENTRY.pack_into(sorted_, places[group] * ENTRY.size, number, length, offset)
                    places[group] += 1
                    number += 1
            self._let_first_lines_lead(sorted_, places)
            for start in range(0, size, BUFFER):
                yield sorted_[start : start + BUFFER]

    def _let_first_lines_lead(self, entries: mmap.mmap, ends: "array[int]") -> None:
        """Move the first line of each large group before the last lines of the large one before it: while its prompt is being
        read, others that begin alike would find nothing."""
        before = 0
        for _, group in sorted(self._groups.items()):
            size, first = self._sizes[group], (ends[group] - self._sizes[group]) * ENTRY.size
            if min(size, before) >= 2 * LEAD:
                leader = entries[first : first + ENTRY.size]
                place = first - LEAD * ENTRY.size
                entries[place + ENTRY.size : first + ENTRY.size] = entries[place:first]
                entries[place : place + ENTRY.size] = leader
            before = size

    def _first_places(self) -> "array[int]":
        """Return where each group begins: groups that begin alike beside each other."""
        places, place = array("L", bytes(self._sizes.itemsize * len(self._sizes))), 0
        for _, group in sorted(self._groups.items()):
            places[group] = place
            place += self._sizes[group]
        return places

    def _useful_depth(self) -> int:
        """Return the last cut up to which enough lines begin like another one; 0 if there is none."""
        useful = 0
        for depth in range(1, self._depth + 1):
            lines: dict[bytes, int] = {}
            for key, group in self._groups.items():
                if len(key) >= depth * _HASH:
                    begins = key[: depth * _HASH]
                    lines[begins] = lines.get(begins, 0) + self._sizes[group]
            # One prefix that all lines share is warm whatever their order.
            if len(lines) > 1 and sum(count - 1 for count in lines.values()) >= LEAST_SHARED * self._lines:
                useful = depth
        return useful

    def _spill(self) -> None:
        if self._taken is None:
            self._taken = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (likewise)
        self._taken.write(self._buffer)
        self._buffer.clear()

    def _give_up(self) -> None:
        self._given_up = True
        self._groups.clear()
        self._buffer.clear()


def _key(line: bytes, tools: Any, depth: int) -> bytes:
    """Return the hashes of a line's prompt, each of its bytes from the beginning up to a cut; tools stand before the messages."""
    start = line.find(b'"messages"')
    size = len(line) - start
    check = crc32(orjson.dumps(tools)) if tools else 0
    key = b""
    for begin, end in CUTS[:depth]:
        if end > size:
            break
        check = crc32(line[start + begin : start + end], check)
        key += check.to_bytes(_HASH)
    return key
