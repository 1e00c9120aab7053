"""Stores virtual keys in Redis, by the digests of their secrets."""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from balancer.runtime.events import audit
from balancer.state.redis_connection import AsyncRedis
from jobs.access import redis_keys
from jobs.access.record import KeyRecord, Limits, check_name
from jobs.access.refusals import KeyNameTaken, NoSuchKey
from jobs.access.secret import digest_of, new_key_id, new_secret
from jobs.records import to_nano
from jobs.storage.durability import make_durable

__all__ = ["KeyOrder", "KeyStore", "key_in_use"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """What a new key is to be. `lifetime` is in seconds, None for a key that does not expire."""

    name: str
    lifetime: float | None = None
    models: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    admin: bool = False


class KeyStore:
    """Makes, finds, lists and revokes keys. What it writes is on the server's disk when a call returns, if the server can say."""

    def __init__(self, redis: AsyncRedis) -> None:
        self._redis = redis

    async def create(self, order: KeyOrder) -> tuple[KeyRecord, str]:
        """Make a key and return it with its secret, which can't be shown again. Raises KeyNameTaken, ValueError."""
        name, secret, now = check_name(order.name), new_secret(), int(time.time())
        expires_at = None if order.lifetime is None else now + int(order.lifetime)
        record = KeyRecord(new_key_id(), name, digest_of(secret), now, expires_at, tuple(order.models), order.limits, order.admin)
        # The record first: if this ends in between, there is a key with an unknown secret, and the name is free.
        await self._redis.hset(redis_keys.KEYS, record.digest, record.to_json())
        await self._redis.hsetnx(redis_keys.NAMES, name, record.id)
        if await self._redis.hget(redis_keys.NAMES, name) != record.id.encode():
            await self._redis.hdel(redis_keys.KEYS, record.digest)
            raise KeyNameTaken(name)
        await self.announce_budgets(record)
        await make_durable(self._redis)
        audit(log, "key_created", **_said(record))
        return record, secret

    async def announce_budgets(self, record: KeyRecord) -> None:
        """Write down what bounds the key's jobs, for the scripts that pause them."""
        if known := _budgets(record):
            await self._redis.hset(redis_keys.budgets(record.id), mapping=known)

    async def find(self, digest: str) -> KeyRecord | None:
        """Return the key of a secret with this digest, dead or alive."""
        text = await self._redis.hget(redis_keys.KEYS, digest)
        return KeyRecord.from_json(text) if text else None

    async def all(self) -> list[KeyRecord]:
        """Return all keys, those too that are revoked or expired, oldest first. Secrets that were replaced are not among them."""
        used = {key_id.decode(): int(at) for key_id, at in (await self._redis.hgetall(redis_keys.USED)).items()}
        records = [replace(each, last_used_at=used.get(each.id)) for each in await self._records() if not each.retired]
        return sorted(records, key=lambda record: (record.created_at, record.name))

    async def _records(self) -> list[KeyRecord]:
        return [KeyRecord.from_json(text) for text in await self._redis.hvals(redis_keys.KEYS)]

    async def note_use(self, key_id: str, at: float) -> None:
        """Remember that a key was used at `at` (s)."""
        await self._redis.hset(redis_keys.USED, key_id, int(at))

    async def exist(self) -> bool:
        """Whether any key was ever made. Revoked ones count: taking the last key away must not open the door to all."""
        return bool(await self._redis.exists(redis_keys.KEYS))

    async def change(self, wanted: str, limits: Limits | None = None, models: Sequence[str] | None = None) -> KeyRecord:
        """Give the key with this id or name other limits, or models; its secret stays. Raises NoSuchKey."""
        record = await self.in_use(wanted)
        changed = replace(
            record,
            limits=record.limits if limits is None else limits,
            models=record.models if models is None else tuple(models),
        )
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(redis_keys.KEYS, changed.digest, changed.to_json())
            pipe.hdel(redis_keys.budgets(changed.id), "day", "month")
            if known := _budgets(changed):
                pipe.hset(redis_keys.budgets(changed.id), mapping=known)
            await pipe.execute()
        await make_durable(self._redis)
        audit(log, "key_changed", **_said(changed))
        return changed

    async def rotate(self, wanted: str, overlap: float) -> tuple[KeyRecord, str]:
        """Give the key with this id or name another secret, and return both; the old one goes on for `overlap` seconds. What
        belongs to the key stays. Raises NoSuchKey."""
        record, secret, now = await self.in_use(wanted), new_secret(), int(time.time())
        rotated = replace(record, digest=digest_of(secret))
        ends = now + int(overlap)
        old = replace(record, retired=True, expires_at=ends if record.expires_at is None else min(ends, record.expires_at))
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(redis_keys.KEYS, rotated.digest, rotated.to_json())
            pipe.hset(redis_keys.KEYS, old.digest, old.to_json())
            await pipe.execute()
        await make_durable(self._redis)
        audit(log, "key_rotated", key=rotated.id, name=rotated.name, overlap=int(overlap))
        return rotated, secret

    async def in_use(self, wanted: str) -> KeyRecord:
        """Return the key with this id or name that is not revoked. Raises NoSuchKey."""
        return key_in_use(await self.all(), wanted)

    async def known(self, wanted: str) -> KeyRecord:
        """Return the key with this id, revoked or not, or the one in use with this name. Raises NoSuchKey."""
        records = await self.all()
        return next((record for record in records if record.id == wanted), None) or key_in_use(records, wanted)

    async def revoke(self, wanted: str) -> KeyRecord:
        """Revoke the key with this id or name, with the secrets that were replaced, and return it. Raises NoSuchKey."""
        revoked = replace(await self.in_use(wanted), revoked=True)
        async with self._redis.pipeline(transaction=True) as pipe:
            for record in await self._records():
                if record.id == revoked.id:
                    pipe.hset(redis_keys.KEYS, record.digest, replace(record, revoked=True).to_json())
            pipe.hdel(redis_keys.NAMES, revoked.name)
            pipe.hset(redis_keys.budgets(revoked.id), "revoked", 1)
            await pipe.execute()
        await make_durable(self._redis)
        audit(log, "key_revoked", key=revoked.id, name=revoked.name)
        return revoked


def key_in_use(records: Iterable[KeyRecord], wanted: str) -> KeyRecord:
    """Return the key with this id or name that is not revoked. Raises NoSuchKey."""
    found = [record for record in records if not record.revoked and wanted in (record.id, record.name)]
    # A name may look like another key's id: the id is meant.
    record = next((r for r in found if r.id == wanted), found[0] if found else None)
    if record is None:
        raise NoSuchKey(wanted)
    return record


def _budgets(record: KeyRecord) -> dict[str, int]:
    """Return a key's budgets in nanodollars."""
    budgets = {"day": record.limits.budget_day, "month": record.limits.budget_month}
    return {period: to_nano(budget) for period, budget in budgets.items() if budget is not None}


def _said(record: KeyRecord) -> dict[str, Any]:
    """Return what the logs say of a key that was made or changed."""
    limits = {name: value for name, value in asdict(record.limits).items() if value is not None}
    known = {"admin": record.admin or None, "models": list(record.models) or None, "expires_at": record.expires_at}
    return {"key": record.id, "name": record.name, **known, **limits}
