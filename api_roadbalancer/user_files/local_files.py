"""Reads the user's files in chunks, and writes files completely or not at all."""

import asyncio
import gzip
import hashlib
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, cast

from api_roadbalancer.user_files.extra import pyarrow

__all__ = ["digest_of", "errors_path", "make_files_private", "open_plain", "read_chunks", "temporary_path", "write_whole"]

CHUNK = 1024 * 1024


_umasks: list[int] = [0o022]
"""What the user's own files are made with."""


def make_files_private() -> None:
    """From here on this process makes files that only the user can read, but for the results that the user asks for."""
    _umasks[0] = os.umask(0o077)


def open_plain(path: Path) -> IO[bytes]:
    """Open a file for reading, what it holds as it was before it was compressed, if its name ends with .gz or .zst."""
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if path.suffix == ".zst":
        return io.BufferedReader(pyarrow(path.name).input_stream(str(path), compression="zstd"))
    return path.open("rb")


async def read_chunks(path: Path) -> AsyncIterator[bytes]:
    """Yield a file in chunks of 1 MB, as `open_plain` reads it."""
    with open_plain(path) as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk


def digest_of(path: Path) -> str:
    """Return a digest of a file's content (BLAKE2b, 32 hexadecimal digits)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


async def write_whole(path: Path, chunks: AsyncIterator[bytes]) -> None:
    """Write a file beside its place and move it there when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with temporary.open("wb") as file:
            async for chunk in chunks:
                await asyncio.to_thread(file.write, chunk)
        temporary.chmod(0o666 & ~_umasks[0])
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(path: Path) -> Path:
    """Return where a file is written before it is whole."""
    return path.with_name(f".{path.name}.part")


def errors_path(out: Path) -> Path:
    """Return the errors file that belongs to an output file: `results.jsonl` has `results.errors.jsonl`."""
    return out.with_name(f"{out.stem}.errors{out.suffix or '.jsonl'}")
