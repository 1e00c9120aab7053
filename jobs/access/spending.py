"""What a key has spent in the day and the month (UTC), in nano-dollars; its budgets are held against that."""

import time
from datetime import UTC, datetime, timedelta

from balancer.redis_connection import AsyncRedis
from jobs.access import redis_keys

__all__ = ["DAY_KEPT", "MONTH_KEPT", "add_spent", "counters", "seconds_left", "spending_periods"]

DAY_KEPT = 3 * 86400
"""Seconds that the counter of a day is kept after the last change."""
MONTH_KEPT = 40 * 86400


async def add_spent(redis: AsyncRedis, key_id: str, nano: int, now: float | None = None) -> None:
    """Add to what a key has spent today and this month (`now` in s; the present if left out)."""
    if nano <= 0:
        return
    today, month = counters(key_id, time.time() if now is None else now)
    async with redis.pipeline(transaction=True) as pipe:
        for counter, kept in ((today, DAY_KEPT), (month, MONTH_KEPT)):
            pipe.incrby(counter, nano)
            pipe.expire(counter, kept)
        await pipe.execute()


def counters(key_id: str, now: float) -> tuple[str, str]:
    """Return the Redis keys of what a key spends in the day and in the month of `now` (s)."""
    day, month = spending_periods(now)
    return redis_keys.spent(key_id, day), redis_keys.spent(key_id, month)


def spending_periods(now: float) -> tuple[str, str]:
    """Return the day and the month of `now` (s), as the counters name them."""
    date = datetime.fromtimestamp(now, UTC)
    return f"{date:%Y-%m-%d}", f"{date:%Y-%m}"


def seconds_left(now: float) -> tuple[float, float]:
    """Return the seconds until the day and until the month of `now` (s) are over."""
    date = datetime.fromtimestamp(now, UTC)
    midnight = date.replace(hour=0, minute=0, second=0, microsecond=0)
    # The 28th and four days are always in the next month.
    next_month = (midnight.replace(day=28) + timedelta(days=4)).replace(day=1)
    return (midnight + timedelta(days=1) - date).total_seconds(), (next_month - date).total_seconds()
