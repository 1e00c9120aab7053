"""Renews the leases of requests in flight, so that they last as long as the process."""

import asyncio
import logging

from redis.exceptions import RedisError

from balancer.runtime.tasks import end_tasks
from balancer.state.redis_connection import AsyncRedis
from jobs.access import redis_keys

__all__ = ["LEASE_SECONDS", "Leases"]

LEASE_SECONDS = 30.0
"""After this a request whose process says nothing any more no longer counts as one under way."""
RENEW_EVERY = 10.0

log = logging.getLogger(__name__)


class Leases:
    """Renews what this process holds; does nothing while it holds nothing."""

    def __init__(self, redis: AsyncRedis, lease_seconds: float = LEASE_SECONDS, renew_every: float = RENEW_EVERY) -> None:
        self._redis = redis
        self._lease_ms = int(lease_seconds * 1000)
        self._renew_every = renew_every
        self._held: dict[str, str] = {}
        self._keeper: asyncio.Task[None] | None = None

    def hold(self, key_id: str, lease: str) -> None:
        """Begin to renew a lease that has just been taken."""
        self._held[lease] = key_id
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep(), name="renew the leases of requests")

    def drop(self, lease: str) -> None:
        """Stop renewing a lease."""
        self._held.pop(lease, None)

    async def renew(self) -> None:
        """Renew all leases that are held. One that is not in Redis any more is not brought back: it may just have ended."""
        # The server's clock, by which the leases are judged.
        seconds, microseconds = await self._redis.time()
        expires = seconds * 1000 + microseconds // 1000 + self._lease_ms
        async with self._redis.pipeline(transaction=False) as pipe:
            for lease, key_id in self._held.items():
                pipe.zadd(redis_keys.leases(key_id), {lease: expires}, xx=True)
                pipe.pexpire(redis_keys.leases(key_id), self._lease_ms * 2)
            await pipe.execute()

    async def aclose(self) -> None:
        """Stop; what is held ends with its time."""
        if self._keeper:
            await end_tasks(self._keeper)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._renew_every)
            if not self._held:
                return
            try:
                await self.renew()
            except RedisError as exc:
                log.warning("the leases of %d requests could not be renewed: %s", len(self._held), exc)
