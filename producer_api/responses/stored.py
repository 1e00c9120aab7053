"""Responses that are kept for 30 days, with the key that made them, so that another one can follow (`previous_response_id`).

Each is one object in the store: what was said up to it, as messages of a chat, its input, and the response itself.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from jobs.access import Caller
from jobs.storage.object_store import KEEP_RESPONSES, ObjectStore, response_path
from producer_api.http.errors import ApiError, Problem
from producer_api.responses.items import Message, as_messages

__all__ = ["StoredResponse", "StoredResponses"]

_ID = re.compile(r"resp_[0-9a-f]{48}")


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """`messages` are those of the conversation with the answer, without instructions; `input` the items of this turn alone."""

    owner: str
    created_at: float
    messages: list[Message]
    input: list[Any]
    response: dict[str, Any]


class StoredResponses:
    """The responses of all keys."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def keep(self, owner: str, earlier: Sequence[Message], items: list[Any], response: Mapping[str, Any]) -> None:
        """Keep a response, which may be found from then on. Raises ObjectStoreError and OSError."""
        messages = [*earlier, *as_messages([*items, *response["output"]])]
        kept = {"owner": owner, "created_at": time.time(), "messages": messages, "input": items, "response": response}
        await self._store.write(response_path(response["id"]), orjson.dumps(kept))

    async def get(self, identifier: str, caller: Caller, param: str | None = None) -> StoredResponse:
        """Return a response. Raises ApiError (404; 400 where it is a parameter's) if the caller has none with this id."""
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
        await self.get(identifier, caller)
        await self._store.delete(response_path(identifier))
