"""Stored responses: kept for 30 days, visible to the API key that created them, continued by `previous_response_id`.

Each is one object in the store, with the conversation up to it as chat messages, its input items, and the response.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from balancer.state.redis_connection import AsyncRedis
from jobs.access import Caller
from jobs.storage import keys
from jobs.storage.object_store import KEEP_RESPONSES, ObjectStore, response_path
from producer_api.http.errors import ApiError, Problem
from producer_api.responses.items import Message, as_messages

__all__ = ["StoredResponse", "StoredResponses"]

_ID = re.compile(r"resp_[0-9a-f]{48}")


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """`messages` are those of the conversation with the answer, without instructions; `input` has this request's items only."""

    owner: str
    created_at: float
    messages: list[Message]
    input: list[Any]
    response: dict[str, Any]


class StoredResponses:
    """Reads and writes stored responses."""

    def __init__(self, redis: AsyncRedis, store: ObjectStore) -> None:
        self._redis = redis
        self._store = store

    async def save(self, owner: str, earlier: Sequence[Message], items: list[Any], response: Mapping[str, Any]) -> None:
        """Store a response. Raises ObjectStoreError, OSError and RedisError."""
        messages = [*earlier, *as_messages([*items, *response["output"]])]
        kept = {"owner": owner, "created_at": time.time(), "messages": messages, "input": items, "response": response}
        if owner:  # what belongs to a key can be deleted with it (see jobs.upkeep.erasure)
            index, now = keys.responses_of(owner), time.time()
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.zadd(index, {response["id"]: now})
                pipe.zremrangebyscore(index, 0, now - KEEP_RESPONSES)
                pipe.expire(index, int(KEEP_RESPONSES))
                await pipe.execute()
        await self._store.write(response_path(response["id"]), orjson.dumps(kept))

    async def get(self, identifier: str, caller: Caller, param: str | None = None) -> StoredResponse:
        """Return a stored response. Raises ApiError if the caller has none with this id: 404, or 400 that names `param`."""
        try:
            if not _ID.fullmatch(identifier):
                raise FileNotFoundError
            stored = StoredResponse(**orjson.loads(await self._store.read(response_path(identifier))))
        except FileNotFoundError:
            stored = None
        expired = stored is None or stored.created_at < time.time() - KEEP_RESPONSES
        if stored is None or expired or caller.sees_only not in (None, stored.owner):
            if param is None:
                raise ApiError(Problem(404, f"no such response: {identifier[:80]}", param="id", code="not_found"))
            message = f"previous response with id {identifier[:80]!r} not found"
            raise ApiError(Problem(400, message, param=param, code="previous_response_not_found"))
        return stored

    async def delete(self, identifier: str, caller: Caller) -> None:
        """Delete a response. Raises ApiError as `get` does."""
        stored = await self.get(identifier, caller)
        await self._store.delete(response_path(identifier))
        if stored.owner:
            await self._redis.zrem(keys.responses_of(stored.owner), identifier)
