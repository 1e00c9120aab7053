"""The order of a round while it is written: a temporary file of entries."""

import tempfile
from array import array
from collections.abc import AsyncIterator
from typing import IO

from jobs.intake.line_order import ENTRY, entry, unpack

__all__ = ["OrderFile"]

ENTRIES = 65_536
"""Entries that are read at once."""


class OrderFile:
    """Takes the lines that are to be sent, and counts those that get the result of one of them. A context manager."""

    def __init__(self, all_lines: int = 0) -> None:
        """`all_lines` is how many the input has, where lines may get another one's result."""
        self.lines = 0
        self.bytes = 0
        self.repeats = 0
        self._counts = array("I", bytes(4 * all_lines))
        """By number, how many others get a line's result."""
        self._leading = bytearray()
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed at the exit)

    def __enter__(self) -> "OrderFile":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()

    def add(self, number: int, length: int, offset: int, leads: bool = False) -> None:
        """Take the line for the next place: its number, its length and the byte at which it begins. Those that lead stand before
        all others."""
        self.lines += 1
        self.bytes += length
        if leads:
            self._leading += entry(number, length, offset)
        else:
            self._file.write(entry(number, length, offset))

    def add_repeat(self, first: int) -> None:
        """Count a line that gets the result of line `first`."""
        self.repeats += 1
        self._counts[first] += 1

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the order."""
        self._file.seek(0)
        chunk = bytes(self._leading)
        while chunk := chunk or self._file.read(ENTRIES * ENTRY.size):
            if self.repeats:
                chunk = b"".join(entry(n, length, offset, self._counts[n]) for n, length, offset, _ in unpack(chunk))
            yield chunk
            chunk = b""
