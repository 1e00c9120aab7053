"""How many files and bytes an API key may store."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from redis.exceptions import WatchError

from balancer.state.redis_connection import AsyncRedis
from jobs.access.record import Limits
from jobs.access.refusals import Refusal, Refused
from jobs.records import FileRecord
from jobs.storage import keys

__all__ = ["Quota"]


class Quota:
    """What files of one owner count against; `limits` None is without limit."""

    def __init__(self, redis: AsyncRedis, owner: str, limits: Limits | None) -> None:
        self._redis = redis
        self._owner = owner
        self._files = limits.files if limits else None
        self._bytes = limits.stored_bytes if limits else None

    @property
    def _is_none(self) -> bool:
        return self._files is None and self._bytes is None

    async def check(self) -> None:
        """Refuse another file, before its content comes. Raises Refused."""
        if not self._is_none:
            self._refuse(*await self._stored(self._redis), size=1)

    async def bounded(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Hand on the content of a file as long as there is room for it. Raises Refused."""
        if self._bytes is None:
            async for chunk in chunks:
                yield chunk
            return
        files, stored = await self._stored(self._redis)
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            self._refuse(files, stored, size)
            yield chunk

    async def add(self, record: FileRecord, write: Callable[[Any], None]) -> None:
        """Let `write` put a record's commands into a transaction which is carried out only if the file has room, however many
        others are added at the same time. Raises Refused."""
        while True:
            async with self._redis.pipeline(transaction=True) as pipe:
                if not self._is_none:
                    await pipe.watch(keys.files_of(self._owner))
                    self._refuse(*await self._stored(pipe), size=record.size)
                    pipe.multi()
                write(pipe)
                try:
                    await pipe.execute()
                    return
                except WatchError:
                    continue

    async def _stored(self, redis: Any) -> tuple[int, int]:
        """Return how many files there are, and their bytes."""
        ids = [found.decode() for found in await redis.zrange(keys.files_of(self._owner), 0, -1)]
        if self._bytes is None:
            return len(ids), 0
        async with self._redis.pipeline(transaction=False) as pipe:
            for file_id in ids:
                pipe.hget(keys.file(file_id), "size")
            return len(ids), sum(int(size or 0) for size in await pipe.execute())

    def _refuse(self, files: int, stored: int, size: int) -> None:
        if self._files is not None and files >= self._files:
            message = f"this key stores {files:,} files, and may store {self._files:,}; delete some, or let them expire"
            raise Refused(Refusal.STORAGE, message)
        if self._bytes is not None and stored + size > self._bytes:
            room = f"this key stores {stored:,} bytes, and may store {self._bytes:,}"
            raise Refused(Refusal.STORAGE, f"{room}: there is no room for this file; delete some")
