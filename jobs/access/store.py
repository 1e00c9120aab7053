"""Stores virtual keys in Redis, by the digests of their secrets."""

import time
from dataclasses import dataclass, field, replace

from balancer.state.redis_connection import AsyncRedis
from jobs.access import redis_keys
from jobs.access.record import KeyRecord, Limits, check_name
from jobs.access.refusals import KeyNameTaken, NoSuchKey
from jobs.access.secret import digest_of, new_key_id, new_secret
from jobs.records import to_nano
from jobs.storage.durability import make_durable

__all__ = ["KeyOrder", "KeyStore"]


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
        return record, secret

    async def announce_budgets(self, record: KeyRecord) -> None:
        """Write down what bounds the key's jobs, for the scripts that pause them."""
        budgets = {"day": record.limits.budget_day, "month": record.limits.budget_month}
        known = {period: to_nano(budget) for period, budget in budgets.items() if budget is not None}
        if known:
            await self._redis.hset(redis_keys.budgets(record.id), mapping=known)

    async def find(self, digest: str) -> KeyRecord | None:
        """Return the key of a secret with this digest, dead or alive."""
        text = await self._redis.hget(redis_keys.KEYS, digest)
        return KeyRecord.from_json(text) if text else None

    async def all(self) -> list[KeyRecord]:
        """Return all keys, those too that are revoked or expired, oldest first."""
        records = [KeyRecord.from_json(text) for text in await self._redis.hvals(redis_keys.KEYS)]
        return sorted(records, key=lambda record: (record.created_at, record.name))

    async def exist(self) -> bool:
        """Whether any key was ever made. Revoked ones count: taking the last key away must not open the door to all."""
        return bool(await self._redis.exists(redis_keys.KEYS))

    async def revoke(self, wanted: str) -> KeyRecord:
        """Revoke the key with this id or name and return it. Raises NoSuchKey."""
        in_use = [record for record in await self.all() if not record.revoked]
        found = [record for record in in_use if wanted in (record.id, record.name)]
        # A name may look like another key's id: the id is meant.
        record = next((r for r in found if r.id == wanted), found[0] if found else None)
        if record is None:
            raise NoSuchKey(wanted)
        revoked = replace(record, revoked=True)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(redis_keys.KEYS, revoked.digest, revoked.to_json())
            pipe.hdel(redis_keys.NAMES, revoked.name)
            pipe.hset(redis_keys.budgets(revoked.id), "revoked", 1)
            await pipe.execute()
        await make_durable(self._redis)
        return revoked
