"""Who is on the roll, and who is gone."""

import asyncio
import math
import time

import pytest

from api_roadbalancer.processes.ports import free_port
from balancer.state import keys as balancer_keys
from balancer.state.redis_connection import open_connection
from jobs.dispatch.lease_table import ShardTable
from jobs.dispatch.presence import SLOW_PING, Presence, Roll
from jobs.storage import keys
from jobs.storage.job_store import job_scripts
from tests.job_bench import Bench
from tests.waiting import until


async def gone(roll: Roll) -> set[str]:
    await roll.gone()
    return await roll.gone(patience=0.0)


async def test_a_process_is_on_the_roll_until_it_leaves_or_its_connection_is_gone(bench: Bench, redis_url: str) -> None:
    roll = Roll(bench.redis)
    one, two = (Presence(bench.redis, redis_url, f"host-{n}-abc") for n in (1, 2))
    await one.start()
    await two.start()
    assert await gone(roll) == set()
    await two.aclose()
    assert await gone(roll) == set(), "it has left by itself"
    await one._pinging.aclose()
    await one._own.aclose()
    async with asyncio.timeout(5):
        while await gone(roll) != {"host-1-abc"}:
            await asyncio.sleep(0.01)
    await bench.redis.hset(balancer_keys.slots("a"), "host-1-abc", "1:1:1:1:1")
    await roll.strike_off("host-1-abc", ["a"])
    assert await gone(roll) == set()
    assert not await bench.redis.exists(balancer_keys.slots("a"), keys.PRESENT)


async def test_a_broken_connection_is_made_anew(bench: Bench, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.dispatch.presence.PING_EVERY", 0.02)
    presence, roll = Presence(bench.redis, redis_url, "host-1-abc"), Roll(bench.redis)
    await presence.start()
    await presence._own.connection_pool.disconnect()
    async with asyncio.timeout(5):
        while await gone(roll):
            await asyncio.sleep(0.01)
    await presence.aclose()


async def test_a_break_is_known_and_what_is_unbroken_counts_from_its_end(
    bench: Bench, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.dispatch.presence.PING_EVERY", 0.02)
    presence = Presence(bench.redis, redis_url, "host-1-abc")
    await presence.start()
    assert presence.unbroken_for == math.inf
    own, presence._own = presence._own, open_connection(f"redis://127.0.0.1:{free_port()}", "rb:none", 1.0)
    await until(lambda: presence.unbroken_for == 0.0)
    monkeypatch.setattr("jobs.dispatch.presence.LONGEST_BREAK", 0.0)
    assert presence.unbroken_for == math.inf, "a connection that is never made must not keep the janitor from its work"
    await presence._own.aclose()
    presence._own = own
    await until(lambda: 0.0 < presence.unbroken_for < math.inf)
    await presence.aclose()


async def test_a_ping_that_is_not_answered_is_a_break(bench: Bench, redis_url: str) -> None:
    presence = Presence(bench.redis, redis_url, "host-1-abc")
    presence._asked_at = time.monotonic() - SLOW_PING - 0.1
    assert presence.unbroken_for == 0.0
    await presence._ping()
    assert presence.unbroken_for == math.inf, "it was slow, but nothing was lost"
    await presence._own.aclose()


async def test_shards_are_taken_from_a_worker_that_is_gone_but_not_from_one_that_renews(bench: Bench) -> None:
    job = await bench.open_job(40)
    table = ShardTable(bench.redis, job_scripts(bench.redis))
    mine, others = await bench.cut(job, 0, 10), await bench.cut(job, 10, 20)
    for shard, process in ((mine, "dead-1"), (others, "alive-1")):
        assert (await table.claim(job.id, shard.first, shard.end, shard.token, f"{process}/x")).shard
    assert await table.held_by("dead-1") == [(job.id, 0)]
    assert not await table.take_from_gone(job.id, 0, "dead-1"), "it has been claimed a moment ago"
    member = keys.shard_member(job.id, 0)
    await bench.redis.zincrby(keys.LEASES, -1300, member)
    assert not await table.take_from_gone(job.id, 0, "another")
    assert await table.take_from_gone(job.id, 0, "dead-1")
    assert await table.returned_of(job.id) == [(0, 10)]
    assert (await bench.redis.zrange(keys.returned(job.id), 0, -1))[0] == b"0:10:0:1:", "a lost worker is counted"
