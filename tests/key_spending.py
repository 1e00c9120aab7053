"""Spends a key's budget without a request."""

import time

from balancer.state.redis_connection import AsyncRedis
from jobs.access.spending import DAY_KEPT, MONTH_KEPT, counters

__all__ = ["spend"]


async def spend(redis: AsyncRedis, key_id: str, nano: int, now: float | None = None) -> None:
    """Add to what a key has spent today and this month (`now` in s; the present if left out)."""
    today, month = counters(key_id, time.time() if now is None else now)
    async with redis.pipeline(transaction=True) as pipe:
        for counter, kept in ((today, DAY_KEPT), (month, MONTH_KEPT)):
            pipe.incrby(counter, nano)
            pipe.expire(counter, kept)
        await pipe.execute()
