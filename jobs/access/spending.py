"""Counters of a key's spending by day and month (UTC), in nano-dollars."""

from datetime import UTC, datetime, timedelta

from jobs.access import redis_keys

__all__ = ["DAY_KEPT", "MONTH_KEPT", "counters", "seconds_left", "spending_periods"]

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
