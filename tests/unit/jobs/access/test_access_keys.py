"""Keys in Redis: found, revoked, expired, remembered."""

import asyncio

import pytest
from access_bench import HOSTILE, MakeAccess, Time

from balancer.state.redis_connection import AsyncRedis
from jobs.access import (
    ANONYMOUS,
    KeyNameTaken,
    KeyStore,
    Limits,
)
from jobs.access.key_authenticator import MOST_UNKNOWN, REMEMBERED_SECONDS
from jobs.access.refusals import NoSuchKey
from jobs.access.store import KeyOrder


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


async def test_without_any_key_each_request_is_let_in_and_then_those_with_one(
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


async def test_a_server_for_others_wants_a_key_even_while_there_is_none(access: MakeAccess) -> None:
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
async def test_hostile_secrets_are_unknown(access: MakeAccess, keys: KeyStore, redis: AsyncRedis, secret: str) -> None:
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


async def test_the_last_use_of_a_key_is_known_to_the_minute(keys: KeyStore, access: MakeAccess, clock: Time) -> None:
    record, secret = await keys.create(KeyOrder("team"))
    await keys.create(KeyOrder("idle"))
    one, began = access(), int(clock())
    for passed in (0.0, 10.0, 49.0):
        clock.seconds += passed
        assert await one.identify(secret)
    assert {each.name: each.last_used_at for each in await keys.all()} == {"team": began, "idle": None}
    clock.seconds += 2.0
    assert await one.identify(secret)
    assert (await keys.in_use("team")).last_used_at == began + 61
    found = await keys.find(record.digest)
    assert found is not None and found.last_used_at is None, "it stands beside the record"


async def test_the_log_warns_once_a_day_before_a_key_expires(
    keys: KeyStore, access: MakeAccess, clock: Time, caplog: pytest.LogCaptureFixture
) -> None:
    record, secret = await keys.create(KeyOrder("team", 9 * 86_400.0))
    assert record.expires_at is not None
    clock.seconds = record.expires_at - 8.5 * 86_400
    one = access()
    said = []
    for _ in range(8):
        await one.identify(secret)
        await one.identify(secret)
        said.append(caplog.text.count("key_expires_soon"))
        clock.seconds += 86_400
    assert said == [0, 0, 1, 2, 3, 4, 5, 6]
    assert "name=team days=6.5" in caplog.text
