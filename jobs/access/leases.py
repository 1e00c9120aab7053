"""Renews the leases of requests in flight, so that they last as long as the process."""

import logging

from balancer.runtime.periodic import Periodic
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
        self._held: dict[str, str] = {}
        self._renewing = Periodic(self._renew_held, renew_every, "renew the leases of requests", self._not_renewed)
        self._has_begun = False

    def hold(self, key_id: str, lease: str) -> None:
        """Begin to renew a lease that has just been taken."""
        self._held[lease] = key_id
        if not self._has_begun:
            self._has_begun = True
            self._renewing.start()

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
                pipe.pexpire(redis_keys.reserved(key_id), self._lease_ms * 2)
            await pipe.execute()

    async def aclose(self) -> None:
        """Stop; what is held ends with its time."""
        await self._renewing.aclose()

    async def _renew_held(self) -> None:
        if self._held:
            await self.renew()

    def _not_renewed(self, error: Exception) -> None:
        log.warning("the leases of %d requests could not be renewed: %s", len(self._held), error)
