"""Budgets of keys, by day and month."""

import asyncio

import pytest
from access_bench import MakeAccess, Time, caller_of, refusal
from redis.exceptions import ConnectionError as RedisConnectionError

from balancer.state.redis_connection import AsyncRedis
from jobs.access import (
    Admission,
    KeyStore,
    Refusal,
    redis_keys,
)
from jobs.access.spending import left_of_budgets
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


async def test_what_is_left_is_shared_by_the_jobs_of_a_key(
    access: MakeAccess, keys: KeyStore, redis: AsyncRedis, clock: Time
) -> None:
    one = access()
    poor = await caller_of(one, keys, "poor", budget_day=10.0, budget_month=3.0)
    rich = await caller_of(one, keys, "rich", budget_day=5.0)
    free = await caller_of(one, keys, "free", rpm=5)
    await spend(redis, poor.id, 10**9, clock())
    left = await left_of_budgets(redis, [poor.id, rich.id, "", poor.id, free.id], clock())
    assert left == {poor.id: 10**9, rich.id: 5 * 10**9}
    await spend(redis, poor.id, 9 * 10**9, clock())
    assert await left_of_budgets(redis, [poor.id], clock()) == {poor.id: 0}
    assert await left_of_budgets(redis, ["", ""], clock()) == {}


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


async def test_requests_at_once_reserve_what_they_may_cost(access: MakeAccess, keys: KeyStore, redis: AsyncRedis) -> None:
    one, two = access(), access()
    caller = await caller_of(one, keys, budget_day=0.01)
    asked = [(one, two)[number % 2].admit(caller, "m", 0, 4_000_000) for number in range(64)]
    admitted = [each for each in await asyncio.gather(*asked, return_exceptions=True) if isinstance(each, Admission)]
    assert len(admitted) == 2, "a third might cost more than is left"
    refused = await refusal(two, caller, nano=4_000_000)
    assert (refused.kind, refused.retry_after) == (Refusal.PARALLEL, 1.0) and "reserved" in refused.message
    for admission in admitted:
        await two.finish(caller, admission, 0, None)  # held by another process or not, it is given back once
        await one.finish(caller, admission, 10, 1_000_000)
    assert await redis.hgetall(redis_keys.reserved(caller.id)) == {b"total": b"0"}
    last = await one.admit(caller, "m", 0, 10**30)
    assert (await refusal(one, caller, nano=1)).kind is Refusal.PARALLEL
    await one.finish(caller, last, 10, 20_000_000)
    assert (await refusal(one, caller)).kind is Refusal.BUDGET


async def test_what_a_dead_process_had_reserved_is_free_again(access: MakeAccess, keys: KeyStore, redis: AsyncRedis) -> None:
    dead, living = access(), access()
    caller = await caller_of(living, keys, budget_month=0.01)
    lost = await dead.admit(caller, "m", 0, 5_000_000)
    held = await living.admit(caller, "m", 0, 5_000_000)
    assert (await refusal(living, caller, nano=1)).kind is Refusal.PARALLEL
    await redis.zadd(redis_keys.leases(caller.id), {lost.lease: 1})
    other = await living.admit(caller, "m", 0, 4_000_000)
    await dead.finish(caller, lost, 10, 1)
    for admission in (held, other):
        await living.finish(caller, admission, 10, 1)
    assert await redis.hget(redis_keys.reserved(caller.id), "total") == b"0"


async def test_money_spent_while_redis_was_away_is_counted_later(
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
