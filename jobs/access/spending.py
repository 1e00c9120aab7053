"""Counters of a key's spending by day and month (UTC), in nano-dollars."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from balancer.state.redis_connection import AsyncRedis
from jobs.access import redis_keys

__all__ = ["DAY_KEPT", "MONTH_KEPT", "counters", "left_of_budgets", "seconds_left", "spending_periods"]

DAY_KEPT = 3 * 86400
"""Seconds that the counter of a day is kept after the last change."""
MONTH_KEPT = 40 * 86400


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


async def left_of_budgets(redis: AsyncRedis, owners: Iterable[str], now: float) -> dict[str, float]:
    """Return what the budgets of keys leave to each of their jobs (nanodollars), by the key's id.

    `owners` has the id of the key of each job, "" for none. What is left of the day's and the month's budget, whichever is less,
    is shared evenly. Keys without a budget are not in it. Raises RedisError.
    """
    jobs = Counter(owner for owner in owners if owner)
    if not jobs:
        return {}
    async with redis.pipeline(transaction=False) as pipe:
        for key_id in jobs:
            pipe.hmget(redis_keys.budgets(key_id), "day", "month")
            pipe.mget(counters(key_id, now))
        answers = await pipe.execute()
    found = {}
    for (key_id, count), budgets, spent in zip(jobs.items(), answers[::2], answers[1::2], strict=True):
        left = [int(budget) - int(already or 0) for budget, already in zip(budgets, spent, strict=True) if budget is not None]
        if left:
            found[key_id] = max(0, min(left)) / count
    return found
