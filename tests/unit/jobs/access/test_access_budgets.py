"""Budgets of keys, by day and month."""

import pytest
from access_bench import MakeAccess, Time, caller_of, refusal
from redis.exceptions import ConnectionError as RedisConnectionError

from balancer.state.redis_connection import AsyncRedis
from jobs.access import (
    KeyStore,
    Refusal,
    redis_keys,
)
from tests.key_spending import spend


async def test_a_budget_ends_with_its_day(access: MakeAccess, keys: KeyStore, clock: Time) -> None:
    one, two = access(), access()
    caller = await caller_of(one, keys, budget_day=0.5)
    await one.finish(caller, await one.admit(caller, "m", 0), 10, 499_999_999)
    await two.finish(caller, await two.admit(caller, "m", 0), 10, 1)
    refused = await refusal(one, caller)
    assert refused.kind is Refusal.BUDGET
    assert refused.message == "the budget of this key for today is spent (0.5 USD); the day ends at 00:00 UTC"
    assert refused.retry_after == 12 * 3600
    clock.seconds += 12 * 3600
    await one.admit(caller, "m", 0)


async def test_a_budget_of_a_month_counts_its_days_together(access: MakeAccess, keys: KeyStore, clock: Time) -> None:
    one = access()
    caller = await caller_of(one, keys, budget_day=10.0, budget_month=3.0)
    for _ in range(3):
        await one.finish(caller, await one.admit(caller, "m", 0), 10, 10**9)
        clock.seconds += 86400
    assert "this month" in (await refusal(one, caller)).message
    clock.seconds += 20 * 86400
    await one.admit(caller, "m", 0)


async def test_what_bulk_jobs_spend_counts_too(access: MakeAccess, keys: KeyStore, redis: AsyncRedis, clock: Time) -> None:
    one = access()
    caller = await caller_of(one, keys, budget_day=1.0)
    await spend(redis, caller.id, 600_000_000, clock())
    await one.admit(caller, "m", 0)
    await spend(redis, caller.id, 400_000_000, clock())
    assert (await refusal(one, caller)).kind is Refusal.BUDGET


async def test_sums_of_money_are_forgotten_some_time_after_their_period(
    access: MakeAccess, keys: KeyStore, redis: AsyncRedis
) -> None:
    one = access()
    caller = await caller_of(one, keys, budget_day=1.0)
    await one.finish(caller, await one.admit(caller, "m", 0), 10, 5)
    day, month = f"rb:spent:{caller.id}:2026-03-09", f"rb:spent:{caller.id}:2026-03"
    assert sorted(await redis.keys("rb:spent:*")) == [month.encode(), day.encode()]
    assert await redis.ttl(day) > 86400
    assert await redis.ttl(month) > 31 * 86400


async def test_an_answer_without_a_known_cost_spends_nothing(access: MakeAccess, keys: KeyStore, redis: AsyncRedis) -> None:
    one = access()
    caller = await caller_of(one, keys, budget_day=1.0)
    await one.finish(caller, await one.admit(caller, "m", 0), 10, None)
    assert await redis.keys("rb:spent:*") == []


async def test_money_spent_while_redis_was_away_is_told_later(
    access: MakeAccess, keys: KeyStore, redis: AsyncRedis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = access()
    caller = await caller_of(one, keys, budget_day=1.0)
    first, second = await one.admit(caller, "m", 0), await one.admit(caller, "m", 0)
    with monkeypatch.context() as away:

        async def fail(*_: object) -> None:
            raise RedisConnectionError("away")

        away.setattr(one._scripts, "run", fail)
        await one.finish(caller, first, 10, 700)
    assert "could not be recorded" in caplog.text
    await one.finish(caller, second, 10, 50)
    assert await redis.get(redis_keys.spent(caller.id, "2026-03-09")) == b"750"
