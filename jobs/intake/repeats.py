"""Finds the requests of an input that repeat an earlier one, while the input streams by.

What is found is kept as an array of 32-bit little-endian numbers: for each line, the number of the first line with the same
request, which is its own unless it repeats one.
"""

import mmap
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, Any

import orjson

from balancer.providers.kinds import KINDS
from jobs.intake.uniqueness import FirstUses
from jobs.storage.object_store import ObjectStore

__all__ = ["FirstLines", "RepeatedRequests", "is_repeatable"]

BLOCK = 65_536
"""Lines that are gathered in memory, or read at once."""
SIZE = 4
"""Bytes of a number."""


_GENERATES = {f"/v1{path}": kind.generates for path, kind in KINDS.items()}


def is_repeatable(path: str, body: dict[str, Any]) -> bool:
    """Whether the same request has the same answer: nothing is generated, or with a temperature of 0 or a seed."""
    return not _GENERATES[path] or body.get("temperature") == 0 or body.get("seed") is not None


class RepeatedRequests:
    """Takes requests in the order of their lines; `chunks` gives the array. A context manager, for its temporary files.

    With `everything`, each request counts; otherwise only those that are repeatable.
    """

    def __init__(self, everything: bool = False) -> None:
        self.count = 0
        """Lines that repeat an earlier one. Complete after `chunks`."""
        self._everything = everything
        self._lines = 0
        self._found = array("I")
        """Lines that repeat one, each with the first line of its request."""
        self._uses = FirstUses()
        self._stack = ExitStack()
        self._spilled: IO[bytes] | None = None

    def __enter__(self) -> "RepeatedRequests":
        self._stack.enter_context(self._uses)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def add(self, path: str, body: dict[str, Any]) -> None:
        """Take in the request of the next line."""
        number = self._lines
        self._lines += 1
        if self._everything or is_repeatable(path, body):
            key = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
            if (first := self._uses.add(b"%b %b" % (path.encode(), key), number)) is not None:
                self._found.extend((number, first))
                if len(self._found) >= 2 * BLOCK:
                    self._spill()

    def chunks(self) -> Iterator[bytes]:
        """Yield the array; nothing if no request is repeated. Blocks for the disk."""
        for pair in self._uses.repeats():
            self._found.extend(pair)
        spilled = self._spill()
        if not self.count:
            return
        size = self._lines * SIZE
        firsts = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack closes it)
        for start in range(0, self._lines, BLOCK):
            firsts.write(array("I", range(start, min(self._lines, start + BLOCK))).tobytes())
        firsts.flush()
        with mmap.mmap(firsts.fileno(), size) as mapped, memoryview(mapped) as view, view.cast("I") as numbers:
            spilled.seek(0)
            while block := array("I", spilled.read(2 * BLOCK * SIZE)):
                for i in range(0, len(block), 2):
                    numbers[block[i]] = block[i + 1]
            for start in range(0, size, BLOCK * SIZE):
                yield mapped[start : start + BLOCK * SIZE]

    def _spill(self) -> IO[bytes]:
        if self._spilled is None:
            self._spilled = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack closes it)
        self.count += len(self._found) // 2
        self._spilled.write(self._found.tobytes())
        self._found = array("I")
        return self._spilled


class FirstLines:
    """The array, read from the store into a temporary file: `first_lines[number]` is the first line with the same request as
    line `number`. A context manager."""

    def __init__(self, stack: ExitStack, numbers: memoryview) -> None:
        self._stack = stack
        self._numbers = numbers

    @classmethod
    async def load(cls, store: ObjectStore, path: str) -> "FirstLines":
        """Read the array at `path`, which is not empty. Raises FileNotFoundError."""
        with ExitStack() as stack:
            file = stack.enter_context(tempfile.TemporaryFile())
            async for chunk in store.stream(path):
                file.write(chunk)
            file.flush()
            mapped = stack.enter_context(mmap.mmap(file.fileno(), 0))
            view = stack.enter_context(memoryview(mapped))
            numbers = stack.enter_context(view.cast("I"))
            return cls(stack.pop_all(), numbers)
        raise AssertionError("unreachable")

    def __enter__(self) -> "FirstLines":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> int:
        return self._numbers[number]
