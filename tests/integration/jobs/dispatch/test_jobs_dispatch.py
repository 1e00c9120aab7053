"""Dispatch: work goes where it can be done, in turn."""

import asyncio
from collections import Counter

import pytest
from dispatch_house import House, endpoints

from balancer.endpoint import Endpoint
from balancer.routing import BalancingStrategy
from jobs import keys
from jobs.dispatch import dispatcher as dispatch
from jobs.records import FileRecord, Shard
from tests.job_bench import Bench, new_job


async def test_shards_go_to_all_that_serve_within_their_credit(house: House) -> None:
    await house.bench.open_job(1000)
    assert await house.dispatcher.run() == len(house.queue.shards) > 2
    assert house.lines() == {"a": 16, "b": 16}
    assert await house.dispatcher.run() == 0  # their credit is used up


async def test_an_endpoint_that_rested_is_not_idle_before_it_has_had_lines_for_a_while(house: House) -> None:
    assert house.dispatcher._load("a", {}, None).idle_for > 1e6, "it has never answered"
    await house.bench.open_job(1000)
    await house.dispatcher.run()
    since = await house.bench.redis.hget(keys.TURNS, keys.busy_since("a"))
    assert house.dispatcher._load("a", {}, since).idle_for < 5
    assert 60 <= house.dispatcher._load("a", {}, b"%d" % (int(since or 0) - 60_000)).idle_for < 65


async def test_an_endpoint_that_nobody_listens_to_gets_nothing(house: House) -> None:
    await house.serve("b", process="w1")
    await house.bench.open_job(1000)
    await house.dispatcher.run()
    assert set(house.lines()) == {"b"}


async def test_a_worker_that_has_gone_silent_counts_no_more(house: House) -> None:
    await house.serve("a", "b", seconds=-1.0)
    await house.bench.open_job(1000)
    assert await house.dispatcher.run() == 0
    await house.serve("a", process="w2")
    assert await house.dispatcher.run() > 0
    await house.serve(process="w2")
    assert (await house.bench.redis.hexists(keys.SERVING, "w2")) is False


async def test_a_failing_endpoint_gets_nothing(house: House) -> None:
    await house.fail("a")
    await house.bench.open_job(1000)
    await house.dispatcher.run()
    assert set(house.lines()) == {"b"}


async def test_only_endpoints_that_serve_the_model_are_given_a_job(bench: Bench) -> None:
    fleet = [Endpoint("http://a", name="a", models={"m": "m"}), Endpoint("http://b", name="b", models={"other": "x"})]
    house = House(bench, fleet, BalancingStrategy.ROUND_ROBIN)
    await house.serve("a", "b")
    await bench.open_job(1000)
    await house.dispatcher.run()
    assert set(house.lines()) == {"a"}
    await house.fleet.__aexit__(None, None, None)


async def test_jobs_that_cannot_be_served_stand_in_nobodys_way(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "JOBS_AT_ONCE", 3)
    fleet = [Endpoint("http://a", name="a", models={"x": "x"}), Endpoint("http://b", name="b", models={"m": "m"})]
    house = House(bench, fleet, BalancingStrategy.ROUND_ROBIN)
    await house.serve("a", "b")
    await house.fail("a")
    for n in range(7):
        record = FileRecord("file-00000000", "in.jsonl", "batch", 100, 0, lines=10, models={"x": 1})
        await bench.jobs.open(new_job(f"batch_0000x{n:04d}", record))
    await bench.open_job(10, priority=-1)
    assert await house.dispatcher.run() > 0
    await house.fleet.__aexit__(None, None, None)


async def test_two_jobs_share_and_priority_goes_first(house: House) -> None:
    low, one, two = (
        await house.bench.open_job(1000, priority=-5),
        await house.bench.open_job(1000),
        await house.bench.open_job(1000),
    )
    await house.dispatcher.run()
    served = Counter(shard.job_id for shard in house.queue.shards)
    assert abs(served[one.id] - served[two.id]) <= 1
    assert house.queue.shards[0].job_id != low.id


async def test_many_dispatchers_at_once_cut_every_line_once(bench: Bench) -> None:
    crowd = [House(bench, endpoints("a", "b", "c"), BalancingStrategy.WEIGHTED, f"p{i}") for i in range(4)]
    await crowd[0].serve("a", "b", "c")
    job = await bench.open_real_job(300)
    cut: list[Shard] = []
    async with asyncio.timeout(30):
        while not (await bench.jobs.get(job.id)).is_final:
            await asyncio.gather(*(house.dispatcher.run() for house in crowd))
            for house in crowd:
                for shard in house.queue.shards:
                    cut.append(shard)
                    if await bench.work(shard):
                        assert await bench.assembly().end_if_done(job.id)
                house.queue.shards.clear()
    assert sorted((s.first, s.end) for s in cut) == [(s, e) for s, e in _tiles(sorted((s.first, s.end) for s in cut))]
    assert sum(shard.lines for shard in cut) == 300
    for house in crowd:
        await house.fleet.__aexit__(None, None, None)


def _tiles(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges as they should be: each begins where the last one ended."""
    starts = [0, *(end for _, end in ranges)]
    return [(start, end) for start, (_, end) in zip(starts, ranges, strict=False)]


async def test_a_broker_that_is_away_costs_time_only(house: House) -> None:
    job = await house.bench.open_job(20)
    house.queue.broken = True
    await house.dispatcher.run()
    house.queue.broken = False
    await house.bench.let_leases_run_out()
    await house.janitor._take_back()
    while await house.dispatcher.run():
        pass
    # What was cut before is cut again, as it was; nothing twice.
    ranges = sorted((shard.first, shard.end) for shard in house.queue.shards)
    assert ranges == _tiles(ranges) and ranges[0][0] == 0
    assert len(await house.bench.table.open_of(job.id)) == len(ranges)
