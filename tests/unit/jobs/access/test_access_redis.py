"""API keys in Redis: the store, authentication, and limits that several processes share."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from balancer.state.redis_connection import AsyncRedis
from jobs.access import (
    ANONYMOUS,
    Access,
    Admission,
    Caller,
    KeyNameTaken,
    KeyStore,
    Limits,
    Refusal,
    Refused,
    redis_keys,
    store,
)
from jobs.access.key_authenticator import MOST_UNKNOWN, REMEMBERED_SECONDS, Clocks
from jobs.access.leases import Leases
from jobs.access.refusals import NoSuchKey
from jobs.access.store import KeyOrder
from tests.key_spending import spend

NOW = datetime(2026, 3, 9, 12, tzinfo=UTC).timestamp()
HOSTILE = ["", " ", "\x00", "\r\nset a 1\r\n", "rb-", "a" * 10_000_000, "schlüssel", "\ud800", "*", "rb:keys", "🗝" * 500]


class Time:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.seconds = NOW

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def keys(redis: AsyncRedis, monkeypatch: pytest.MonkeyPatch) -> KeyStore:
    """The store, which does not wait for the disk: that takes up to a second."""

    async def at_once(_: AsyncRedis) -> None:
        return None

    monkeypatch.setattr(store, "make_durable", at_once)
    return KeyStore(redis)


MakeAccess = Callable[..., Access]


@pytest.fixture
async def access(redis: AsyncRedis, clock: Time) -> AsyncIterator[MakeAccess]:
    """Makes the access of as many processes as a test wants."""
    async with AsyncExitStack() as stack:

        def make(*configured: str, open_door: bool = True) -> Access:
            made = Access(redis, configured, open_door, Clocks(clock, clock))
            stack.push_async_callback(made.aclose)
            return made

        yield make


async def caller_of(access: Access, keys: KeyStore, name: str = "team", **limits: Any) -> Caller:
    _, secret = await keys.create(KeyOrder(name, limits=Limits(**limits)))
    caller = await access.identify(secret)
    assert caller
    return caller


async def refusal(access: Access, caller: Caller, tokens: int = 0) -> Refused:
    with pytest.raises(Refused) as refused:
        await access.admit(caller, "m", tokens)
    return refused.value


@pytest.fixture
def asked(redis: AsyncRedis, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Redis is asked: a command's name, or PIPELINE."""
    names: list[str] = []
    execute, pipeline = redis.execute_command, redis.pipeline

    async def execute_noted(*args: Any, **options: Any) -> Any:
        names.append(str(args[0]))
        return await execute(*args, **options)

    def pipeline_noted(*args: Any, **options: Any) -> Any:
        names.append("PIPELINE")
        return pipeline(*args, **options)

    monkeypatch.setattr(redis, "execute_command", execute_noted)
    monkeypatch.setattr(redis, "pipeline", pipeline_noted)
    return names


# The store


async def test_a_key_is_found_by_its_secret_and_the_secret_is_stored_nowhere(keys: KeyStore, redis: AsyncRedis) -> None:
    record, secret = await keys.create(KeyOrder("team", 60.0, ("m",), Limits(rpm=5), admin=True))
    assert await keys.find(record.digest) == record
    assert record.expires_at == record.created_at + 60
    assert await keys.all() == [record]
    for key in await redis.keys("*"):
        assert secret.encode() not in await redis.dump(key)
    assert secret not in repr(record)


async def test_two_keys_do_not_share_a_name_until_one_is_revoked(keys: KeyStore) -> None:
    first, _ = await keys.create(KeyOrder("team"))
    results = await asyncio.gather(*(keys.create(KeyOrder("other")) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, KeyNameTaken) for result in results) == 4
    with pytest.raises(KeyNameTaken, match="'team'"):
        await keys.create(KeyOrder("team"))
    assert len(await keys.all()) == 2
    await keys.revoke("team")
    second, _ = await keys.create(KeyOrder("team"))
    assert (await keys.revoke(second.id)).id == second.id
    assert {record.id for record in await keys.all() if record.revoked} == {first.id, second.id}


@pytest.mark.parametrize("wanted", HOSTILE)
async def test_nothing_else_is_revoked(keys: KeyStore, wanted: str) -> None:
    await keys.create(KeyOrder("team"))
    with pytest.raises(NoSuchKey):
        await keys.revoke(wanted)
    assert [record.revoked for record in await keys.all()] == [False]


async def test_a_revoked_key_is_not_revoked_again(keys: KeyStore) -> None:
    await keys.create(KeyOrder("team"))
    await keys.revoke("team")
    with pytest.raises(NoSuchKey):
        await keys.revoke("team")


async def test_the_id_is_meant_where_a_name_looks_like_one(keys: KeyStore) -> None:
    victim, _ = await keys.create(KeyOrder("victim"))
    await keys.create(KeyOrder(victim.id))
    assert (await keys.revoke(victim.id)).name == "victim"


# KeyAuthenticator


async def test_without_any_key_everybody_is_let_in_and_with_the_first_one_nobody_else(
    access: MakeAccess, keys: KeyStore, clock: Time
) -> None:
    one = access()
    for secret in ("", "anything"):
        assert await one.identify(secret) is ANONYMOUS
    record, secret = await keys.create(KeyOrder("team"))
    clock.seconds += REMEMBERED_SECONDS
    assert await one.identify("") is None
    assert await one.identify("anything") is None
    caller = await one.identify(secret)
    assert caller and (caller.id, caller.name, caller.admin, caller.record) == (record.id, "team", False, record)


async def test_the_last_key_that_is_revoked_does_not_open_the_door(access: MakeAccess, keys: KeyStore) -> None:
    _, secret = await keys.create(KeyOrder("team"))
    await keys.revoke("team")
    assert await access().identify(secret) is None
    assert await access().identify("") is None


async def test_a_server_for_others_lets_nobody_in_even_without_a_key(access: MakeAccess) -> None:
    for secret in HOSTILE:
        assert await access(open_door=False).identify(secret) is None


async def test_configured_keys_are_admins_and_ask_redis_nothing(access: MakeAccess, asked: list[str]) -> None:
    one, other = access("s-one", "schlüssel", "\udcff"), access("schlüssel")
    caller = await one.identify("schlüssel")
    assert caller and caller.admin and caller.record is None
    assert caller == await other.identify("schlüssel")
    assert await one.identify("\udcff") and await one.identify("s-one") != caller
    assert asked == []
    assert "schlüssel" not in repr(caller)
    assert await one.identify("s-on") is None


async def test_virtual_keys_work_beside_configured_ones(access: MakeAccess, keys: KeyStore) -> None:
    record, secret = await keys.create(KeyOrder("team"))
    caller = await access("s-one").identify(secret)
    assert caller and caller.id == record.id


async def test_a_key_that_was_seen_is_not_looked_up_again_for_a_while(
    access: MakeAccess, keys: KeyStore, clock: Time, asked: list[str]
) -> None:
    one = access()
    _, secret = await keys.create(KeyOrder("team"))
    await one.identify(secret)
    await one.identify("wrong")
    asked.clear()
    for _ in range(100):
        assert await one.identify(secret)
        assert await one.identify("wrong") is None
    assert asked == []
    clock.seconds += REMEMBERED_SECONDS
    assert await one.identify(secret)
    assert asked


async def test_a_revoked_key_is_out_within_the_time_of_remembering(access: MakeAccess, keys: KeyStore, clock: Time) -> None:
    one = access()
    _, secret = await keys.create(KeyOrder("team"))
    assert await one.identify(secret)
    await keys.revoke("team")
    clock.seconds += REMEMBERED_SECONDS
    assert await one.identify(secret) is None


async def test_a_key_expires_to_the_second_though_it_is_remembered(access: MakeAccess, keys: KeyStore, clock: Time) -> None:
    one = access()
    record, secret = await keys.create(KeyOrder("team", lifetime=3600.0))
    assert record.expires_at
    clock.seconds = record.expires_at - 0.001
    assert await one.identify(secret)
    clock.seconds = record.expires_at
    assert await one.identify(secret) is None


@pytest.mark.parametrize("secret", HOSTILE)
async def test_hostile_secrets_are_nobodys(access: MakeAccess, keys: KeyStore, redis: AsyncRedis, secret: str) -> None:
    record, _ = await keys.create(KeyOrder("team"))
    one = access("s-one")
    for wrong in (secret, record.id, record.digest, record.name):
        assert await one.identify(wrong) is None
    assert await redis.dbsize() == 2


async def test_wrong_secrets_do_not_fill_the_memory(access: MakeAccess, keys: KeyStore) -> None:
    await keys.create(KeyOrder("team"))
    one = access()
    for number in range(MOST_UNKNOWN + 50):
        assert await one.identify(f"wrong-{number}") is None
    assert len(one._authenticator._unknown) == MOST_UNKNOWN


# Limits


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
