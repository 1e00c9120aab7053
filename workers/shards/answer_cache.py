"""Answers of earlier jobs, kept in the object store for jobs that ask for them (`cache: 30d`).

The key of an entry is a digest of the owner of the job, the path and the whole request, including its model. Entries are not
shared between owners. An entry holds a line of JSON (time, endpoint, model, status), then the body of the answer.
"""

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from balancer.outcome import Outcome
from jobs.storage import object_store
from jobs.storage.object_store import ObjectStore, ObjectStoreError

__all__ = ["AnswerCache"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AnswerCache:
    """The answers to the requests of one job: `owner` is the id of its API key, `seconds` how old an answer may be."""

    store: ObjectStore
    owner: str
    seconds: int

    def key(self, path: str, body: Mapping[str, Any]) -> str:
        """Return the name of a request's entry."""
        request = orjson.dumps([self.owner, path, body], option=orjson.OPT_SORT_KEYS)
        return hashlib.blake2b(request, digest_size=20).hexdigest()

    async def find(self, key: str) -> Outcome | None:
        """Return the answer that is kept, which costs nothing any more; None if there is none, or it is too old."""
        try:
            content = await self.store.read(object_store.cached_answer_path(self.owner, key))
        except FileNotFoundError:
            return None
        except (ObjectStoreError, OSError) as exc:
            log.warning("a kept answer can't be read: %s", exc)
            return None
        head, _, body = content.partition(b"\n")
        kept: dict[str, Any] = orjson.loads(head)
        if kept["at"] < time.time() - self.seconds:
            return None
        parsed = orjson.loads(body)
        return Outcome(kept["endpoint"], 0.0, kept["status"], body, parsed=parsed, model=kept["model"], cost=0.0)

    async def keep(self, key: str, outcome: Outcome) -> None:
        """Keep an answer. If the store can't take it, the next job asks again."""
        kept = {"at": int(time.time()), "endpoint": outcome.endpoint, "model": outcome.model, "status": outcome.status}
        try:
            await self.store.write(object_store.cached_answer_path(self.owner, key), orjson.dumps(kept) + b"\n" + outcome.body)
        except (ObjectStoreError, OSError) as exc:
            log.warning("an answer can't be kept: %s", exc)
