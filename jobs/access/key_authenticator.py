"""Authenticates callers by their API keys, with a cache in front of Redis."""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hmac import compare_digest

from balancer.runtime.events import Event
from jobs.access.caller import ANONYMOUS, Caller
from jobs.access.record import KeyRecord
from jobs.access.secret import LONGEST_SECRET, digest_of, id_of_digest
from jobs.access.store import KeyStore
from jobs.access.ttl_cache import TTLCache

__all__ = ["REMEMBERED_SECONDS", "Clocks", "KeyAuthenticator"]

REMEMBERED_SECONDS = 2.0
"""How long an answer of Redis holds in this process: a revoked key is out, and a new one in, after that at the latest."""
MOST_KNOWN = 10_000
"""Keys that are remembered. Redis is asked for others each time."""
MOST_UNKNOWN = 4096
"""Wrong secrets that are remembered, so that a client that goes on with one does not ask Redis each time."""
ANY_KEY = "any"
NOTED_EVERY = 60.0
"""Seconds between two notes of a key's use, by each process."""
DAY = 86_400.0
WARNED_BEFORE = 7 * DAY
"""Seconds before its end in which the use of a key is warned of in the log, once a day."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Clocks:
    """`wall` tells the seconds since the epoch, `steady` never goes back."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic


class KeyAuthenticator:
    """Knows the keys of `ROADBALANCER_API_KEYS` and the virtual ones. While there is none, everybody is ANONYMOUS."""

    def __init__(
        self,
        store: KeyStore,
        configured: Sequence[str],
        open_door: bool,
        clocks: Clocks,
        on_keys_seen: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Without `open_door`, a key is required even while none exists; it is required for good once one was seen."""
        self._on_keys_seen = on_keys_seen
        self._store = store
        self._clocks = clocks
        self._open_door = open_door and not configured
        self._configured = [digest_of(secret) for secret in configured]
        self._known: TTLCache[KeyRecord] = TTLCache(MOST_KNOWN, REMEMBERED_SECONDS, clocks.steady)
        self._unknown: TTLCache[bool] = TTLCache(MOST_UNKNOWN, REMEMBERED_SECONDS, clocks.steady)
        self._noted: TTLCache[bool] = TTLCache(MOST_KNOWN, NOTED_EVERY, clocks.steady)
        self._warned: TTLCache[bool] = TTLCache(MOST_KNOWN, DAY, clocks.steady)
        self._keys_exist: TTLCache[bool] = TTLCache(1, REMEMBERED_SECONDS, clocks.steady)

    async def identify(self, secret: str) -> Caller | None:
        """Return the caller with this secret, None for an unknown, expired or revoked key. Raises RedisError if it is needed."""
        if self._open_door and not await self._any_key():
            return ANONYMOUS
        if not 0 < len(secret) <= LONGEST_SECRET:
            return None
        digest = digest_of(secret)
        # Each one is compared in full, so that the time taken tells nothing.
        if any([compare_digest(digest, own) for own in self._configured]):
            return Caller(id_of_digest(digest), "ROADBALANCER_API_KEYS", admin=True)
        record = await self._record(digest)
        if record is None or not record.lives(self._clocks.wall()):
            return None
        await self._note_use(record)
        return Caller.of(record)

    async def _note_use(self, record: KeyRecord) -> None:
        """Remember that a key is used, and warn of its end, now and then."""
        if self._noted.get(record.id):
            return
        now, asked_at = self._clocks.wall(), self._clocks.steady()
        await self._store.note_use(record.id, now)
        self._noted.put(record.id, True, asked_at)
        if record.expires_at is not None and record.expires_at - now < WARNED_BEFORE and not self._warned.get(record.digest):
            self._warned.put(record.digest, True, asked_at)
            days = round((record.expires_at - now) / DAY, 1)
            log.warning(Event("key_expires_soon", {"key": record.id, "name": record.name, "days": days}))

    async def still_knows(self, caller: Caller) -> bool:
        """Whether a caller that was identified before would be let in now. Raises RedisError if it is needed."""
        if caller.record is None:
            return True
        record = await self._record(caller.record.digest)
        return record is not None and record.lives(self._clocks.wall())

    async def _any_key(self) -> bool:
        exist = self._keys_exist.get(ANY_KEY)
        if exist is None:
            asked_at = self._clocks.steady()
            exist = await self._store.exist()
            self._keys_exist.put(ANY_KEY, exist, asked_at)
            if exist and self._open_door:
                self._open_door = False
                if self._on_keys_seen is not None:
                    await self._on_keys_seen()
        return exist

    async def _record(self, digest: str) -> KeyRecord | None:
        known = self._known.get(digest)
        if known is not None or self._unknown.get(digest):
            return known
        asked_at = self._clocks.steady()
        record = await self._store.find(digest)
        if record is None:
            self._unknown.put(digest, True, asked_at)
        else:
            self._known.put(digest, record, asked_at)
        return record
