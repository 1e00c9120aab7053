"""Files: content in the object store, records in Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from balancer.state.redis_connection import AsyncRedis
from jobs.access.record import Limits
from jobs.errors import NotFound
from jobs.intake.checker import Form, Intake, IntakeResult
from jobs.intake.line_ids import find_line
from jobs.intake.quota import Quota
from jobs.records import FileRecord, decode_fields
from jobs.records.ids import is_file_id, new_file_id
from jobs.storage import keys, object_store
from jobs.storage.object_store import ObjectStore, ObjectStoreError

__all__ = ["BATCH_PURPOSE", "DEFAULT_TTL", "Files", "Upload"]

BATCH_PURPOSE = "batch"
DEFAULT_TTL = 30 * 24 * 3600
"""Seconds until an input or output of a batch expires, as at OpenAI."""

ASK_AT_ONCE = 500
"""Records that are asked for in one round trip."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What comes with a file. `ttl` is seconds; `form` None leaves the content unchecked (it is no input); `owner` is the id of
    an API key, whose `limits` bound how much it may store."""

    filename: str
    purpose: str = BATCH_PURPOSE
    ttl: int | None = None
    form: Form | None = Form.BATCH
    file_id: str | None = None
    owner: str = ""
    limits: Limits | None = None


class Files:
    """Keeps files."""

    def __init__(self, redis: AsyncRedis, store: ObjectStore) -> None:
        self._redis = redis
        self._store = store

    async def add(
        self, upload: Upload, chunks: AsyncIterator[bytes], complete: Callable[[Upload], Upload] | None = None
    ) -> FileRecord:
        """Take a file in as it streams; its lines are checked on the way and the errors kept in the record.

        `complete` is asked after the last byte, for what a client says behind the content: it returns the upload as it is meant.
        An error in the stream (a client that went away, a full disk) or in `complete` leaves nothing behind. Raises Refused if
        the owner may not store so much.
        """
        quota = Quota(self._redis, upload.owner, upload.limits)
        await quota.check()
        file_id = upload.file_id or new_file_id()
        try:
            record = await self._take_in(file_id, upload, quota.bounded(chunks), complete or _unchanged)
            await quota.add(record, lambda pipe: _put(pipe, record))
        except BaseException:
            # An id that was given by the caller may have had another file before.
            if upload.file_id is None:
                with suppress(ObjectStoreError, OSError):
                    await self._delete_objects(file_id)
            raise
        return record

    async def _take_in(
        self, file_id: str, upload: Upload, chunks: AsyncIterator[bytes], complete: Callable[[Upload], Upload]
    ) -> FileRecord:
        now = int(time.time())
        result: IntakeResult | None = None
        if upload.form is None:
            counted = _Counted(chunks)
            await self._store.write_stream(object_store.content_path(file_id), counted.stream())
            size = counted.size
        else:
            result = await self._check_in(file_id, upload.form, chunks)
            size = result.size
        upload = complete(upload)
        ttl = upload.ttl or (DEFAULT_TTL if upload.purpose == BATCH_PURPOSE else None)
        record = FileRecord(file_id, upload.filename, upload.purpose, size, now, now + ttl if ttl else None, owner=upload.owner)
        if result is None or upload.form is None:
            return record
        await self._store.write(object_store.index_path(file_id), result.index)
        return replace(
            record,
            lines=result.lines,
            models=result.models,
            paths=result.paths,
            media=result.media,
            errors=result.errors,
            ordered=result.ordered,
            repeats=result.repeats,
        )

    async def _check_in(self, file_id: str, form: Form, chunks: AsyncIterator[bytes]) -> IntakeResult:
        with Intake(form) as intake:

            async def checked() -> AsyncIterator[bytes]:
                async for chunk in chunks:
                    # Checking is work for the processor; in a thread it doesn't hold up other requests.
                    if kept := await asyncio.to_thread(intake.feed, chunk):
                        yield kept
                if kept := intake.finish():
                    yield kept

            await self._store.write_stream(object_store.content_path(file_id), checked())
            result = await asyncio.to_thread(intake.result)
            if result.errors:
                return result
            ordered = await self._write_found(object_store.order_path(file_id), intake.order())
            await self._write_found(object_store.first_lines_path(file_id), intake.first_lines())
            await self._write_found(object_store.ids_path(file_id), intake.ids())
            return replace(result, ordered=ordered, repeats=intake.repeats)

    async def _write_found(self, path: str, found: Iterator[bytes]) -> bool:
        """Write what was found about an input's lines, if there is something; return whether there is."""
        first = await asyncio.to_thread(next, found, b"")
        if not first:
            return False

        async def chunks() -> AsyncIterator[bytes]:
            yield first
            while chunk := await asyncio.to_thread(next, found, b""):
                yield chunk

        await self._store.write_stream(path, chunks())
        return True

    async def register(self, record: FileRecord) -> None:
        """Put a file's record in place; its content has been written."""
        async with self._redis.pipeline(transaction=True) as pipe:
            _put(pipe, record)
            await pipe.execute()

    async def get(self, file_id: str, owner: str | None = None) -> FileRecord:
        """Look a file up, among those of `owner` if that is given. Raises NotFound."""
        fields = await self._redis.hgetall(keys.file(file_id)) if is_file_id(file_id) else {}
        record = FileRecord.from_fields(file_id, decode_fields(fields)) if fields else None
        if record is None or owner not in (None, record.owner):
            raise NotFound("file", file_id)
        return record

    async def page(
        self,
        limit: int,
        after: str | None = None,
        purpose: str | None = None,
        newest_first: bool = True,
        owner: str | None = None,
    ) -> tuple[list[FileRecord], bool]:
        """List files by age, those after the file `after`, and say whether there are more; those of `owner` if that is given.

        Raises NotFound for `after`.
        """
        index = keys.FILES if owner is None else keys.files_of(owner)
        ids = await ids_after(self._redis, index, after, newest_first, "file")
        found: list[FileRecord] = []
        for start in range(0, len(ids), ASK_AT_ONCE):
            for record in await self._records(ids[start : start + ASK_AT_ONCE]):
                if purpose is not None and record.purpose != purpose:
                    continue
                if len(found) == limit:
                    return found, True
                found.append(record)
        return found, False

    async def _records(self, ids: list[str]) -> list[FileRecord]:
        """Look several files up in one round trip; those that have gone are left out."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for file_id in ids:
                pipe.hgetall(keys.file(file_id))
            answers = await pipe.execute()
        return [FileRecord.from_fields(i, decode_fields(fields)) for i, fields in zip(ids, answers, strict=True) if fields]

    def content(self, record: FileRecord, start: int = 0) -> AsyncIterator[bytes]:
        """Stream a file's bytes, from byte `start` on."""
        return self._store.stream(object_store.content_path(record.id), start, record.size)

    async def line_of(self, record: FileRecord, custom_id: str) -> int | None:
        """Return the number (from 0) of an input's line with this id, None if there is none. Raises FileNotFoundError."""
        return await find_line(self._store, record, custom_id)

    async def delete(self, file_id: str) -> None:
        """Delete a file and its record. Raises NotFound."""
        record = await self.get(file_id)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(keys.file(file_id))
            for index in _indexes(record):
                pipe.zrem(index, file_id)
            await pipe.execute()
        await self._delete_objects(file_id)

    async def _delete_objects(self, file_id: str) -> None:
        await self._store.delete(*object_store.file_paths(file_id))

    async def expired(self, now: float) -> list[str]:
        """Return the files whose time is over."""
        ids = [i.decode() for i in await self._redis.zrange(keys.FILES, 0, -1)]
        async with self._redis.pipeline(transaction=False) as pipe:
            for file_id in ids:
                pipe.hget(keys.file(file_id), "expires_at")
            times = await pipe.execute()
        return [i for i, at in zip(ids, times, strict=True) if at and int(at) <= now]


async def ids_after(redis: AsyncRedis, index: str, after: str | None, newest_first: bool, kind: str) -> list[str]:
    """Return the ids of an index by age, those behind `after`. Raises NotFound if `after` is not in it."""
    start = 0
    if after is not None:
        rank = await (redis.zrevrank(index, after) if newest_first else redis.zrank(index, after))
        if rank is None:
            raise NotFound(kind, after)
        start = int(rank) + 1
    ids = await (redis.zrevrange(index, start, -1) if newest_first else redis.zrange(index, start, -1))
    return [i.decode() for i in ids]


def _put(pipe: Any, record: FileRecord) -> None:
    pipe.hset(keys.file(record.id), mapping=record.to_fields())
    # The first time counts, and its fraction: files of one second are listed in their order.
    for index in _indexes(record):
        pipe.zadd(index, {record.id: time.time()}, nx=True)


def _indexes(record: FileRecord) -> tuple[str, ...]:
    return (keys.FILES, keys.files_of(record.owner)) if record.owner else (keys.FILES,)


def _unchanged(upload: Upload) -> Upload:
    return upload


class _Counted:
    """A stream that counts its bytes."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self.size = 0

    async def stream(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            self.size += len(chunk)
            yield chunk
