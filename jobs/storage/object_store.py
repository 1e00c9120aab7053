"""The object store (a folder or a bucket) and the paths of the objects in it.

obstore serves folders, S3, GCS and Azure behind one interface.
"""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError as ObjectStoreError
from obstore.store import LocalStore, from_url
from obstore.store import ObjectStore as Backend

__all__ = ["ObjectInfo", "ObjectStore", "ObjectStoreError", "part_range", "store_problem"]

CHUNK = 4 * 1024 * 1024
"""Bytes that are held in memory of an object that streams through."""
LARGE = 256 * 1024
"""Bytes from which a piece of a stream is handed to the store as it is."""
MULTIPART_CHUNK = 8 * 1024 * 1024
"""Bytes of one part of a multipart upload: with S3's 10,000 parts, objects of up to 80 GB."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object's path, its size in bytes, and when it was written (seconds since the epoch; 0 where that was not asked for)."""

    path: str
    size: int
    modified: float = 0.0


def store_problem(error: Exception) -> str:
    """Return what a store's client has found, in one line and without its inner structure."""
    text = str(error)
    if code := re.search(r"<Code>(\w+)</Code>", text):
        message = re.search(r"<Message>([^<]*)</Message>", text)
        return f"the bucket's server answered {code[1]}{f': {message[1]}' if message else ''}"
    first = text.splitlines()[0]
    if address := re.search(r"performing \w+ (\S+) .*error sending request", first):
        return f"{address[1].partition('?')[0]} can't be reached"
    return first


class ObjectStore:
    """Reads and writes whole objects, ranges and streams. Raises FileNotFoundError and ObjectStoreError."""

    def __init__(self, store: "Backend") -> None:
        self._store = store

    @classmethod
    def open(cls, location: str) -> "ObjectStore":
        """Open a folder (made if need be) or a URL such as `s3://bucket/prefix`.

        The usual variables are read for buckets (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP` and so on).
        """
        if "://" in location:
            return cls(from_url(location))
        folder = Path(location).expanduser().absolute()
        # Prompts and answers are for no other user of this machine.
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True, mode=0o700)
        return cls(LocalStore(folder, automatic_cleanup=True))

    async def write(self, path: str, content: bytes) -> None:
        """Write an object whole; readers see all of it or none."""
        await obstore.put_async(self._store, path, content, use_multipart=False)

    async def write_stream(self, path: str, chunks: AsyncIterator[bytes]) -> None:
        """Write an object from a stream. An error in the stream leaves no object."""
        await obstore.put_async(
            self._store, path, _gathered(chunks), use_multipart=True, chunk_size=MULTIPART_CHUNK, max_concurrency=2
        )

    async def read(self, path: str) -> bytes:
        """Read an object whole."""
        answer = await obstore.get_async(self._store, path)
        return bytes(await answer.bytes_async())

    async def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read several ranges; those near each other are read together."""
        starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
        return [bytes(each) for each in await obstore.get_ranges_async(self._store, path, starts=starts, ends=ends)]

    async def read_range(self, path: str, start: int, end: int) -> bytes:
        """Read bytes `start` up to `end`."""
        if end <= start:
            return b""
        return bytes(await obstore.get_range_async(self._store, path, start=start, end=end))

    async def stream(self, path: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Read an object, or a range of it, in chunks of bounded size."""
        size = end if end is not None else (await self.info(path)).size
        while start < size:
            stop = min(size, start + CHUNK)
            yield await self.read_range(path, start, stop)
            start = stop

    async def info(self, path: str) -> ObjectInfo:
        """Look an object up."""
        meta = await obstore.head_async(self._store, path)
        return ObjectInfo(path, int(meta["size"]))

    async def folder(self, path: str) -> list[ObjectInfo]:
        """List the objects in a folder, in the order of their names."""
        found = []
        async for batch in obstore.list(self._store, path, chunk_size=1000):
            found += [ObjectInfo(entry["path"], int(entry["size"]), entry["last_modified"].timestamp()) for entry in batch]
        return sorted(found, key=lambda entry: entry.path)

    async def folders(self, path: str) -> list[str]:
        """List the names of the folders in a folder."""
        found = await obstore.list_with_delimiter_async(self._store, path)
        return sorted(str(name).rpartition("/")[2] for name in found["common_prefixes"])

    async def delete(self, *paths: str) -> None:
        """Delete objects; those that are not there are passed over."""
        for path in paths:
            try:
                await obstore.delete_async(self._store, path)
            except FileNotFoundError:
                continue


def content_path(file_id: str) -> str:
    """Where a file's bytes are."""
    return f"files/{file_id}/content"


def order_path(file_id: str) -> str:
    """Where the order of an input's lines is, if it has one (see jobs.intake.prefix_order)."""
    return f"files/{file_id}/order"


def index_path(file_id: str) -> str:
    """Where an input's line index is."""
    return f"files/{file_id}/index"


def first_lines_path(file_id: str, everything: bool = False) -> str:
    """Where the array is that says which lines of an input repeat a request (see jobs.intake.repeats): of those requests that are
    repeatable, or with `everything` of all."""
    return f"files/{file_id}/first-lines{'-of-all' if everything else ''}"


def ids_path(file_id: str) -> str:
    """Where the index of an input's ids is (see jobs.intake.line_ids)."""
    return f"files/{file_id}/ids"


def file_paths(file_id: str) -> list[str]:
    """Everything that there may be of a file."""
    firsts = [first_lines_path(file_id), first_lines_path(file_id, everything=True)]
    return [content_path(file_id), index_path(file_id), order_path(file_id), ids_path(file_id), *firsts]


CACHE_FOLDER = "cache"


def cached_answers_folder(owner: str) -> str:
    """Where the answers of an API key's jobs are kept for its other jobs (see workers.shards.answer_cache)."""
    return f"{CACHE_FOLDER}/{owner or 'no-key'}"


def cached_answer_path(owner: str, key: str) -> str:
    """Where one of them is."""
    return f"{cached_answers_folder(owner)}/{key[:2]}/{key}"


RESPONSES_FOLDER = "responses"
KEEP_RESPONSES = 30 * 86400.0
"""Seconds for which a response is kept, as OpenAI's are."""


def response_path(response_id: str) -> str:
    """Where a response of the gateway is kept (see producer_api.responses.stored)."""
    return f"{RESPONSES_FOLDER}/{response_id[5:7]}/{response_id}"


JOBS_FOLDER = "jobs"


def job_folder(job_id: str) -> str:
    """Where everything is that is a job's own: its parts and rounds."""
    return f"{JOBS_FOLDER}/{job_id}"


def round_folder(job_id: str, name: str) -> str:
    """Where a round of a job is (see jobs.rounds): what it keeps, its order, its parts."""
    return f"{JOBS_FOLDER}/{job_id}/rounds/{name}"


def kept_path(round_: str) -> str:
    """Where the results are that a round keeps, as in a part."""
    return f"{round_}/kept"


def round_order_path(round_: str) -> str:
    """Where the lines of a round are listed, as an order (see jobs.intake.line_order)."""
    return f"{round_}/order"


def parts_folder(job_id: str, round_: str = "") -> str:
    """Where a job's parts are, those of its first round or of another one (its folder)."""
    return f"{round_ or f'{JOBS_FOLDER}/{job_id}'}/parts"


def part_path(job_id: str, first: int, end: int, round_: str = "") -> str:
    """Where the results of lines `first` up to `end` are: one line each, in order, `0` (completed) or `1` (failed) before it."""
    return f"{parts_folder(job_id, round_)}/{first:012d}-{end:012d}"


def part_range(path: str) -> tuple[int, int]:
    """Read (first, end) back from a part's path."""
    first, _, end = path.rpartition("/")[2].partition("-")
    return int(first), int(end)


async def _gathered(chunks: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    """Gather small chunks, since each one costs a crossing into the store's own runtime."""
    held: list[bytes] = []
    size = 0
    async for chunk in chunks:
        if not held and len(chunk) >= LARGE:
            yield chunk
            continue
        held.append(chunk)
        size += len(chunk)
        if size >= CHUNK:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
