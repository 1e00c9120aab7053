"""What the recorded results of jobs have used, by day and key, beside the account of requests.

A line's tokens and cost are counted in the step that records its result, so that they agree with the results whatever is killed.
The account of requests (see balancer.usage.meter) is what each process has counted and reported twice a second: it has what is no
result as well (failed attempts, hedges that lost, repeated requests), and misses what a killed process had not reported.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from balancer.state.redis_connection import AsyncRedis
from balancer.usage.meter import FROM_JOBS, HEDGES
from balancer.usage.query import UsageQuery
from balancer.usage.report import UsageSum, usage_report
from jobs.access import redis_keys
from jobs.records import NANO
from jobs.storage import keys

__all__ = ["DayOfAKey", "Sums", "reconciled"]


@dataclass(frozen=True, slots=True)
class Sums:
    """Tokens, and cost in USD without what has no known price."""

    prompt: int = 0
    completion: int = 0
    cost: float = 0.0

    @classmethod
    def of(cls, sums: UsageSum) -> "Sums":
        """Make them of the account's."""
        return cls(sums.input_tokens, sums.output_tokens, sums.cost or 0.0)

    def __add__(self, other: "Sums") -> "Sums":
        cost = round((self.cost + other.cost) * NANO) / NANO
        return Sums(self.prompt + other.prompt, self.completion + other.completion, cost)


@dataclass(frozen=True, slots=True)
class DayOfAKey:
    """One day (UTC) of one key (its id; "" for none): `requests` is what requests for jobs have used, `results` what the results
    of jobs say. `everything` is the cost of all requests, and `spent` what the key's budget has been charged
    (USD; None where it is not counted: keys without a budget, and days that are long over)."""

    day: date
    key: str
    requests: Sums
    results: Sums
    everything: float
    spent: float | None

    @property
    def differs(self) -> bool:
        """Whether the sums don't agree, to a nanodollar."""
        spent = self.everything if self.spent is None else self.spent
        return self.requests != self.results or round(spent * NANO) != round(self.everything * NANO)


async def reconciled(redis: AsyncRedis, first: date, last: date) -> list[DayOfAKey]:
    """Compare the accounts from `first` to `last`, both included, and return each day of each key that used anything."""
    of_jobs: defaultdict[tuple[str, str], Sums] = defaultdict(Sums)
    costs: defaultdict[tuple[str, str], float] = defaultdict(float)
    for row in (await usage_report(redis, UsageQuery(first, last, ("day", "key", "source")))).rows:
        place = (row.group["day"], row.group["key"])
        costs[place] += row.cost or 0.0
        if row.group["source"] in (FROM_JOBS, HEDGES):
            of_jobs[place] += Sums.of(row)
    days = [day.isoformat() for day in UsageQuery(first, last, ()).days()]
    results = await _results(redis, days)
    places = sorted({*costs, *results})
    spent = await _spent(redis, places)
    return [
        DayOfAKey(date.fromisoformat(day), key, of_jobs[day, key], results.get((day, key), Sums()),
                  costs[day, key], charged)
        for (day, key), charged in zip(places, spent, strict=True)
    ]  # fmt: skip


async def _results(redis: AsyncRedis, days: Sequence[str]) -> dict[tuple[str, str], Sums]:
    async with redis.pipeline(transaction=False) as pipe:
        for day in days:
            pipe.hgetall(keys.recorded(day))
        answers = await pipe.execute()
    found: dict[tuple[str, str], Sums] = {}
    for day, fields in zip(days, answers, strict=True):
        by_key: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for name, number in fields.items():
            key, _, count = name.decode().rpartition("|")
            by_key[key][count] = int(number)
        for key, counts in by_key.items():
            prompt, completion = counts.get("prompt_tokens", 0), counts.get("completion_tokens", 0)
            found[day, key] = Sums(prompt, completion, counts.get("cost_nano", 0) / NANO)
    return found


async def _spent(redis: AsyncRedis, places: Iterable[tuple[str, str]]) -> list[float | None]:
    async with redis.pipeline(transaction=False) as pipe:
        for day, key in places:
            pipe.get(redis_keys.spent(key, day))
            pipe.hmget(redis_keys.budgets(key), "day", "month")
        answers = await pipe.execute()
    counted = zip(answers[::2], answers[1::2], strict=True)
    return [int(nano) / NANO if nano and any(budgets) else None for nano, budgets in counted]
