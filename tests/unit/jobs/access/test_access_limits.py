"""Rates and parallel requests of keys, over several processes."""

import asyncio
from contextlib import suppress

import pytest
from access_bench import MakeAccess, caller_of, refusal

from balancer.state.redis_connection import AsyncRedis
from jobs.access import (
    ANONYMOUS,
    Access,
    Admission,
    Caller,
    KeyStore,
    Limits,
    Refusal,
    Refused,
    redis_keys,
)
from jobs.access.leases import Leases
from jobs.access.store import KeyOrder


async def test_callers_without_limits_cost_no_round_trip(access: MakeAccess, keys: KeyStore, asked: list[str]) -> None:
    one = access("s-one")
    unlimited = await caller_of(one, keys)
    configured = await one.identify("s-one")
    assert configured
    asked.clear()
    for caller in (unlimited, configured, ANONYMOUS):
        admission = await one.admit(caller, "m", 10**9)
        assert admission == Admission()
        await one.finish(caller, admission, 5, 5)
    assert asked == []


async def test_two_processes_share_the_requests_of_a_minute(access: MakeAccess, keys: KeyStore, redis: AsyncRedis) -> None:
    one, two = access(), access()
    caller = await caller_of(one, keys, rpm=6)
    tried = [(one, two)[number % 2].admit(caller, "m", 0) for number in range(20)]
    results = await asyncio.gather(*tried, return_exceptions=True)
    refused = [result for result in results if isinstance(result, Refused)]
    assert len(refused) == 14
    assert {r.kind for r in refused} == {Refusal.REQUESTS}
    # One every ten seconds comes back.
    assert all(9 < (r.retry_after or 0) <= 10 for r in refused)
    left = {result.headers["x-ratelimit-remaining-requests"] for result in results if isinstance(result, Admission)}
    assert left == {"0", "1", "2", "3", "4", "5"}
    # Refused ones took nothing: after ten seconds one may go.
    await _pass(redis, caller, 10.0)
    await one.admit(caller, "m", 0)
    assert (await refusal(two, caller)).headers["x-ratelimit-remaining-requests"] == "0"


async def test_tokens_are_held_against_what_is_expected_and_then_corrected(access: MakeAccess, keys: KeyStore) -> None:
    one, two = access(), access()
    caller = await caller_of(one, keys, tpm=6000)
    admission = await one.admit(caller, "m", 4000)
    assert admission.headers["x-ratelimit-remaining-tokens"] == "2000"
    assert admission.headers["x-ratelimit-reset-tokens"] == "40s"
    refused = await refusal(two, caller, 3000)
    assert (refused.kind, round(refused.retry_after or 0)) == (Refusal.TOKENS, 10)
    await one.finish(caller, admission, 1000, None)
    assert 4990 <= int((await two.admit(caller, "m", 0)).headers["x-ratelimit-remaining-tokens"]) <= 5100


async def test_tokens_used_beyond_the_guess_are_owed(access: MakeAccess, keys: KeyStore) -> None:
    one = access()
    caller = await caller_of(one, keys, tpm=6000)
    admission = await one.admit(caller, "m", 10)
    await one.finish(caller, admission, 9000, None)
    refused = await refusal(one, caller, 1)
    assert refused.headers["x-ratelimit-remaining-tokens"] == "0"
    assert 29 < (refused.retry_after or 0) <= 31


@pytest.mark.parametrize("expected", [6001, 10**12, 2**64, 10**30, -5])
async def test_a_guess_beyond_a_minutes_worth_takes_no_more_than_that(access: MakeAccess, keys: KeyStore, expected: int) -> None:
    one = access()
    caller = await caller_of(one, keys, tpm=6000)
    admission = await one.admit(caller, "m", expected)
    assert admission.headers["x-ratelimit-remaining-tokens"] == ("6000" if expected < 0 else "0")
    await one.finish(caller, admission, 0, None)
    await one.admit(caller, "m", 5999)


async def test_an_endpoint_that_tells_nonsense_does_not_lock_a_key_for_ever(access: MakeAccess, keys: KeyStore) -> None:
    one = access()
    caller = await caller_of(one, keys, tpm=6000)
    await one.finish(caller, await one.admit(caller, "m", 10), 10**30, None)
    assert (await refusal(one, caller, 1)).retry_after == pytest.approx(3600, abs=2)


async def test_two_processes_share_the_requests_at_once(access: MakeAccess, keys: KeyStore, redis: AsyncRedis) -> None:
    one, two = access(), access()
    caller = await caller_of(one, keys, parallel=2)
    first, second = await one.admit(caller, "m", 0), await two.admit(caller, "m", 0)
    assert first.headers == {}
    assert (await refusal(one, caller)).kind is Refusal.PARALLEL
    await one.finish(caller, first, 0, None)
    third = await two.admit(caller, "m", 0)
    assert (await refusal(one, caller)).kind is Refusal.PARALLEL
    for admission in (second, third):
        await two.finish(caller, admission, 0, None)
    assert await redis.zcard(redis_keys.leases(caller.id)) == 0


async def test_never_more_at_once_than_allowed(access: MakeAccess, keys: KeyStore) -> None:
    one, two = access(), access()
    caller = await caller_of(one, keys, parallel=3)
    under_way, most, done = 0, 0, 0

    async def request(access: Access) -> None:
        nonlocal under_way, most, done
        with suppress(Refused):
            admission = await access.admit(caller, "m", 0)
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1
            await access.finish(caller, admission, 0, None)
            done += 1

    for _ in range(20):
        await asyncio.gather(*(request(access) for access in (one, two) for _ in range(5)))
    assert most == 3
    assert done >= 60


async def test_what_a_dead_process_held_comes_back_and_what_a_living_one_holds_stays(
    access: MakeAccess, keys: KeyStore, redis: AsyncRedis
) -> None:
    dead, living = access(), access()
    caller = await caller_of(living, keys, parallel=2)
    await dead.admit(caller, "m", 0)
    held = await living.admit(caller, "m", 0)
    # All but the last moments of both leases go by; only one process is there to renew what it holds.
    for member in await redis.zrange(redis_keys.leases(caller.id), 0, -1):
        await redis.zincrby(redis_keys.leases(caller.id), -29_900, member)
    await living._leases.renew()
    await _until_free(living, caller)
    assert (await refusal(living, caller)).kind is Refusal.PARALLEL
    await living.finish(caller, held, 0, None)
    await living.admit(caller, "m", 0)


async def test_a_process_renews_its_leases_by_itself(redis: AsyncRedis) -> None:
    leases, index = Leases(redis, lease_seconds=30.0, renew_every=0.01), redis_keys.leases("key_1")
    await redis.zadd(index, {"mine": 1.0, "ended": 1.0})
    leases.hold("key_1", "mine")
    leases.hold("key_1", "ended")
    await redis.zrem(index, "ended")
    try:
        async with asyncio.timeout(5):
            while await redis.zscore(index, "mine") == 1.0:
                await asyncio.sleep(0.005)
    finally:
        await leases.aclose()
    assert await redis.zscore(index, "ended") is None


async def test_an_admission_counts_once_however_often_it_is_finished(
    access: MakeAccess, keys: KeyStore, redis: AsyncRedis
) -> None:
    one = access()
    caller = await caller_of(one, keys, parallel=5, budget_day=1.0)
    admission = await one.admit(caller, "m", 0)
    for _ in range(3):
        await one.finish(caller, admission, 10, 1000)
    assert await redis.get(redis_keys.spent(caller.id, "2026-03-09")) == b"1000"


async def test_a_request_that_is_cancelled_still_gives_back_what_it_held(
    access: MakeAccess, keys: KeyStore, redis: AsyncRedis
) -> None:
    one = access()
    caller = await caller_of(one, keys, parallel=1, budget_day=1.0)
    admission = await one.admit(caller, "m", 0)
    task = asyncio.create_task(one.finish(caller, admission, 10, 1000))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await one.aclose()
    assert await redis.zcard(redis_keys.leases(caller.id)) == 0
    assert await redis.get(redis_keys.spent(caller.id, "2026-03-09")) == b"1000"


# Budgets


async def test_a_refused_request_takes_nothing_of_any_limit(access: MakeAccess, keys: KeyStore, redis: AsyncRedis) -> None:
    one = access()
    caller = await caller_of(one, keys, rpm=10, tpm=6000, parallel=1)
    await one.admit(caller, "m", 1000)
    refused = await refusal(one, caller, 1000)
    assert refused.kind is Refusal.PARALLEL
    assert refused.headers["x-ratelimit-remaining-requests"] == "9"
    assert refused.headers["x-ratelimit-remaining-tokens"].startswith("50")
    assert await redis.zcard(redis_keys.leases(caller.id)) == 1


async def test_a_model_that_is_not_allowed_takes_nothing_either(access: MakeAccess, keys: KeyStore) -> None:
    one = access()
    _, secret = await keys.create(KeyOrder("team", models=("m",), limits=Limits(rpm=1)))
    caller = await one.identify(secret)
    assert caller
    for model in ("other", None):
        with pytest.raises(Refused) as refused:
            await one.admit(caller, model, 0)
        assert refused.value.kind is Refusal.MODEL
    await one.admit(caller, "m", 0)


async def test_full_buckets_are_not_kept(access: MakeAccess, keys: KeyStore, redis: AsyncRedis) -> None:
    one = access()
    caller = await caller_of(one, keys, rpm=60, tpm=6000)
    await one.admit(caller, "m", 600)
    assert 6000 < await redis.pttl(redis_keys.limits(caller.id)) <= 7000


async def _pass(redis: AsyncRedis, caller: Caller, seconds: float) -> None:
    """Let time go by for a key's buckets."""
    bucket = redis_keys.limits(caller.id)
    for field in ("requests_at", "tokens_at"):
        if at := await redis.hget(bucket, field):
            await redis.hset(bucket, field, f"{float(at) - seconds:.6f}")


async def _until_free(access: Access, caller: Caller) -> None:
    """Wait until one more request may go, and take its place."""
    async with asyncio.timeout(5):
        while True:
            with suppress(Refused):
                await access.admit(caller, "m", 0)
                return
            await asyncio.sleep(0.005)
