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
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, Any
from zlib import crc32

import orjson

from jobs.intake.line_order import ENTRY

__all__ = ["PrefixOrder"]

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
MOST_KNOWN = 16 * 1024 * 1024
"""Bytes of prompts' beginnings that are kept to find their groups at once."""
BLOCK = 65_536
"""Lines that are gathered in memory."""
BUFFER = 1024 * 1024

_HASH = 4
"""Bytes of a hash."""
_COUNT = struct.Struct("<I")


class PrefixOrder:
    """Takes lines in; `chunks` gives the order as a file (see jobs.intake.line_order), nothing if it gains nothing. A context
    manager, for its temporary files. Memory: the groups, and 4 bytes for each."""

    def __init__(self) -> None:
        self._groups: dict[bytes, int] = {}
        self._sizes: Counter[int] = Counter()
        self._depth = len(CUTS)
        self._reach = CUTS[-1][1]
        self._known: dict[bytes, int] = {}
        """Groups by the beginning of a prompt itself, as long as the last cut that counts."""
        self._block = _Block()
        self._full = SAMPLE
        """Lines in the block after which there is something to do."""
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
        start = line.find(b'"messages"')
        begin = line[start : start + self._reach]
        group = None if tools else self._known.get(begin)
        if group is None:
            group = self._group_of(line, tools)
            if not tools and len(begin) == self._reach and len(self._known) * self._reach < MOST_KNOWN:
                self._known[begin] = group
        block = self._block
        block.groups.append(group)
        block.lengths.append(len(line))
        block.offsets.append(offset)
        if len(block.groups) == self._full:
            self._spill()
            if self._full == SAMPLE:
                self._look_at_sample()

    def _group_of(self, line: bytes, tools: Any) -> int:
        key = _key(line, tools, self._depth)
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= MOST_GROUPS:
                key = key[:_HASH]
            group = self._groups.setdefault(key, len(self._groups))
        return group

    def _look_at_sample(self) -> None:
        """Go on with the cuts at which lines of the sample begin alike; without any, not at all."""
        self._depth = self._useful_depth()
        if not self._depth:
            self._give_up()
            return
        self._reach, self._full = CUTS[self._depth - 1][1], BLOCK

    def chunks(self) -> Iterator[bytes]:
        """Yield the order: an `ENTRY` for each line. Blocks for the sorting."""
        if self._given_up:
            return
        self._spill()
        if not self._useful_depth():
            return
        assert self._taken is not None
        size = self._sizes.total() * ENTRY.size
        ordered = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack closes it)
        ordered.truncate(size)
        places = self._first_places()
        with mmap.mmap(ordered.fileno(), size) as sorted_:
            number, put = 0, ENTRY.pack_into
            for block in self._blocks():
                for group, length, offset in zip(block.groups, block.lengths, block.offsets, strict=True):
                    place = places[group]
                    places[group] = place + 1
                    put(sorted_, place * ENTRY.size, number, length, offset)
                    number += 1
            self._let_first_lines_lead(sorted_, places)
            for start in range(0, size, BUFFER):
                yield sorted_[start : start + BUFFER]

    def _let_first_lines_lead(self, entries: mmap.mmap, ends: list[int]) -> None:
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

    def _first_places(self) -> list[int]:
        """Return where each group begins: groups that begin alike beside each other."""
        places, place = [0] * len(self._groups), 0
        for _, group in sorted(self._groups.items()):
            places[group] = place
            place += self._sizes[group]
        return places

    def _useful_depth(self) -> int:
        """Return the last cut up to which enough lines begin like another one; 0 if there is none."""
        useful, all_lines = 0, self._sizes.total()
        for depth in range(1, self._depth + 1):
            lines: dict[bytes, int] = {}
            for key, group in self._groups.items():
                if len(key) >= depth * _HASH:
                    begins = key[: depth * _HASH]
                    lines[begins] = lines.get(begins, 0) + self._sizes[group]
            # One prefix that all lines share is warm whatever their order.
            if len(lines) > 1 and sum(count - 1 for count in lines.values()) >= LEAST_SHARED * all_lines:
                useful = depth
        return useful

    def _spill(self) -> None:
        """Write the block to a temporary file."""
        if self._taken is None:
            self._taken = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack closes it)
        block, self._block = self._block, _Block()
        self._sizes.update(block.groups)
        block.write(self._taken)

    def _blocks(self) -> Iterator["_Block"]:
        assert self._taken is not None
        self._taken.seek(0)
        while block := _Block.read(self._taken):
            yield block

    def _give_up(self) -> None:
        self._given_up = True
        self._groups.clear()
        self._known.clear()
        self._sizes.clear()


class _Block:
    """Lines as they came: the group, the length and the place of each."""

    def __init__(self) -> None:
        self.groups, self.lengths, self.offsets = array("I"), array("I"), array("Q")

    def write(self, file: IO[bytes]) -> None:
        file.write(_COUNT.pack(len(self.groups)))
        for column in (self.groups, self.lengths, self.offsets):
            file.write(column.tobytes())

    @classmethod
    def read(cls, file: IO[bytes]) -> "_Block | None":
        """Return the next block; None at the end."""
        if not (head := file.read(_COUNT.size)):
            return None
        block, count = cls(), _COUNT.unpack(head)[0]
        for column in (block.groups, block.lengths, block.offsets):
            column.frombytes(file.read(count * column.itemsize))
        return block


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
