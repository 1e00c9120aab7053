"""Reads the account of usage and aggregates it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from balancer.state import keys
from balancer.state.redis_connection import AsyncRedis
from balancer.usage.query import Group, UsageQuery
from balancer.usage.rates import NANO
from balancer.usage.tally import Row, Tally, quantile

__all__ = ["UsageReport", "UsageSum", "summed", "usage_report"]

DAYS_AT_ONCE = 50
"""Days that are asked for in one round trip."""

Entry = tuple[date, Row, Tally]


@dataclass(frozen=True, slots=True)
class UsageSum:
    """What some requests used; `group` says which: a value for each name in the question's `by`.

    `cost` is in USD and without the `unpriced_requests`, whose price is unknown; None if that is all of them. `latency` is the
    average in seconds, `latency_p50` and `latency_p95` are estimates from a histogram; None where no request was answered. The
    counts are explained at `Tally`.
    """

    group: dict[Group, str]
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: float | None
    unpriced_requests: int
    guessed_requests: int
    latency: float | None
    latency_p50: float | None
    latency_p95: float | None


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The sums of one question, in the order of their groups, and the sum of them all."""

    query: UsageQuery
    rows: list[UsageSum]
    total: UsageSum


async def usage_report(redis: AsyncRedis, query: UsageQuery) -> UsageReport:
    """Read what was used, all processes taken together; what they did in the last half second may not be in it."""
    found = await _entries(redis, list(query.days()))
    entries = [entry for entry in found if query.key in (None, entry[1].key)]
    (total,) = summed(entries, ()) or [_sum_of({}, Tally())]
    return UsageReport(query, summed(entries, query.by), total)


def summed(entries: Iterable[Entry], by: Sequence[Group]) -> list[UsageSum]:
    """Add up entries that have the same values for `by`."""
    tallies: dict[tuple[str, ...], Tally] = {}
    for day, row, tally in entries:
        values = tuple(day.isoformat() if name == "day" else getattr(row, name) for name in by)
        tallies.setdefault(values, Tally()).merge(tally)
    return [_sum_of(dict(zip(by, values, strict=True)), tallies[values]) for values in sorted(tallies)]


async def _entries(redis: AsyncRedis, days: Sequence[date]) -> list[Entry]:
    entries: list[Entry] = []
    for start in range(0, len(days), DAYS_AT_ONCE):
        some = days[start : start + DAYS_AT_ONCE]
        async with redis.pipeline(transaction=False) as pipe:
            for day in some:
                pipe.hgetall(keys.usage(day.isoformat()))
            answers = await pipe.execute()
        for day, rows in zip(some, answers, strict=True):
            entries += [(day, Row.unpacked(name), Tally.unpacked(stored)) for name, stored in rows.items()]
    return entries


def _sum_of(group: dict[Group, str], tally: Tally) -> UsageSum:
    answered = sum(tally.buckets)
    return UsageSum(
        group=group,
        requests=tally.requests,
        errors=tally.errors,
        input_tokens=tally.input,
        output_tokens=tally.output,
        cached_tokens=tally.cached,
        reasoning_tokens=tally.reasoning,
        cost=None if tally.unpriced and not tally.priced else tally.nano_cost / NANO,
        unpriced_requests=tally.unpriced,
        guessed_requests=tally.guessed,
        latency=tally.latency_us / 1e6 / answered if answered else None,
        latency_p50=quantile(tally.buckets, 0.5),
        latency_p95=quantile(tally.buckets, 0.95),
    )
