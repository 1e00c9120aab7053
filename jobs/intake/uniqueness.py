"""Finds the first use of each key among millions, in bounded memory.

Keys are kept as 16-byte digests (BLAKE2b: two keys share one with a chance of 2^-128) with their line numbers. Beyond
`IN_MEMORY` keys they go to scattered temporary files, each small enough to be read by itself.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import IO

__all__ = ["FirstUses", "digest_of"]

IN_MEMORY = 200_000
"""Keys that are held in memory (some 30 MB) before the disk is used."""
BUCKETS = 256
RECORD = 24
"""Bytes of a digest and a line number."""
BUFFER = 32 * 1024
"""Bytes gathered for each bucket before they are written: 8 MB in all."""


def digest_of(key: bytes) -> bytes:
    """Return a key's digest (16 bytes)."""
    return hashlib.blake2b(key, digest_size=16).digest()


class FirstUses:
    """Takes keys with their line numbers in ascending order. A context manager: its files go away at the end."""

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}
        self._buckets: list[bytearray] = []
        self._files: list[IO[bytes]] = []
        self._stack = ExitStack()

    def __enter__(self) -> "FirstUses":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def add(self, key: bytes, line: int) -> int | None:
        """Take a key in. Returns the line of its first use if that is known by now; later finds come from `repeats`."""
        digest = digest_of(key)
        if self._files:
            self._spill(digest, line)
            return None
        first = self._seen.setdefault(digest, line)
        if first != line:
            return first
        if len(self._seen) >= IN_MEMORY:
            self._move_to_disk()
        return None

    def repeats(self) -> Iterator[tuple[int, int]]:
        """Yield the repeats that `add` has not returned, in no order: the line, and that of the key's first use. Blocks for the
        reading of the files."""
        for file, bucket in zip(self._files, self._buckets, strict=True):
            records = _records(file, bucket)
            firsts = _firsts_of(records)
            for digest, line in records:
                if firsts[digest] != line:
                    yield line, firsts[digest]

    def firsts(self) -> Iterator[tuple[bytes, int]]:
        """Yield the digest of each key, in ascending order, with the line of its first use. Blocks for the reading of the
        files."""
        yield from sorted(self._seen.items())
        for file, bucket in zip(self._files, self._buckets, strict=True):
            yield from sorted(_firsts_of(_records(file, bucket)).items())

    def _move_to_disk(self) -> None:
        for _ in range(BUCKETS):
            self._files.append(self._stack.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115 (the stack closes it)
        self._buckets = [bytearray() for _ in range(BUCKETS)]
        for digest, line in self._seen.items():
            self._spill(digest, line)
        self._seen = {}

    def _spill(self, digest: bytes, line: int) -> None:
        bucket = self._buckets[digest[0]]
        bucket += digest
        bucket += line.to_bytes(8)
        if len(bucket) >= BUFFER:
            self._files[digest[0]].write(bucket)
            bucket.clear()


def _records(file: IO[bytes], bucket: bytearray) -> list[tuple[bytes, int]]:
    """Return the digests and lines of a bucket, in the order in which they came."""
    file.seek(0)
    content = file.read() + bytes(bucket)
    file.seek(0, os.SEEK_END)
    starts = range(0, len(content), RECORD)
    return [(content[start : start + 16], int.from_bytes(content[start + 16 : start + RECORD])) for start in starts]


def _firsts_of(records: list[tuple[bytes, int]]) -> dict[bytes, int]:
    firsts: dict[bytes, int] = {}
    for digest, line in records:
        firsts.setdefault(digest, line)
    return firsts
