"""Dispatch: work goes where it can be done, in turn."""

import asyncio
from collections import Counter

import pytest
from dispatch_process import DispatchProcess, endpoints

from balancer.endpoint import Endpoint
from balancer.routing import BalancingStrategy
from jobs.dispatch import dispatcher as dispatch
from jobs.records import FileRecord, Shard
from jobs.storage import keys
from tests.job_bench import Bench, new_job


async def test_shards_go_to_all_that_serve_within_their_credit(process: DispatchProcess) -> None:
    await process.bench.open_job(1000)
    assert await process.dispatcher.run() == len(process.queue.shards) > 2
    assert process.lines() == {"a": 16, "b": 16}
    assert await process.dispatcher.run() == 0  # their credit is used up


async def test_an_endpoint_that_rested_is_not_idle_before_it_has_had_lines_for_a_while(process: DispatchProcess) -> None:
    assert process.dispatcher._load("a", {}, None).idle_for > 1e6, "it has never answered"
    await process.bench.open_job(1000)
    await process.dispatcher.run()
    since = await process.bench.redis.hget(keys.TURNS, keys.busy_since("a"))
    assert process.dispatcher._load("a", {}, since).idle_for < 5
    assert 60 <= process.dispatcher._load("a", {}, b"%d" % (int(since or 0) - 60_000)).idle_for < 65


async def test_an_endpoint_without_a_worker_gets_nothing(process: DispatchProcess) -> None:
    await process.serve("b", process="w1")
    await process.bench.open_job(1000)
    await process.dispatcher.run()
    assert set(process.lines()) == {"b"}


async def test_a_worker_that_has_gone_silent_counts_no_more(process: DispatchProcess) -> None:
    await process.serve("a", "b", seconds=-1.0)
    await process.bench.open_job(1000)
    assert await process.dispatcher.run() == 0
    await process.serve("a", process="w2")
    assert await process.dispatcher.run() > 0
    await process.serve(process="w2")
    assert (await process.bench.redis.hexists(keys.SERVING, "w2")) is False


async def test_a_failing_endpoint_gets_nothing(process: DispatchProcess) -> None:
    await process.fail("a")
    await process.bench.open_job(1000)
    await process.dispatcher.run()
    assert set(process.lines()) == {"b"}


async def test_only_endpoints_that_serve_the_model_are_given_a_job(bench: Bench) -> None:
    fleet = [Endpoint("http://a", name="a", models={"m": "m"}), Endpoint("http://b", name="b", models={"other": "x"})]
    process = DispatchProcess(bench, fleet, BalancingStrategy.ROUND_ROBIN)
    await process.serve("a", "b")
    await bench.open_job(1000)
    await process.dispatcher.run()
    assert set(process.lines()) == {"a"}
    await process.fleet.__aexit__(None, None, None)


async def test_jobs_that_cannot_be_served_hold_up_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "JOBS_AT_ONCE", 3)
    fleet = [Endpoint("http://a", name="a", models={"x": "x"}), Endpoint("http://b", name="b", models={"m": "m"})]
    process = DispatchProcess(bench, fleet, BalancingStrategy.ROUND_ROBIN)
    await process.serve("a", "b")
    await process.fail("a")
    for n in range(7):
        record = FileRecord("file-00000000", "in.jsonl", "batch", 100, 0, lines=10, models={"x": 1})
        await bench.jobs.open(new_job(f"batch_0000x{n:04d}", record))
    await bench.open_job(10, priority=-1)
    assert await process.dispatcher.run() > 0
    await process.fleet.__aexit__(None, None, None)


async def test_two_jobs_share_and_priority_goes_first(process: DispatchProcess) -> None:
    low, one, two = (
        await process.bench.open_job(1000, priority=-5),
        await process.bench.open_job(1000),
        await process.bench.open_job(1000),
    )
    await process.dispatcher.run()
    served = Counter(shard.job_id for shard in process.queue.shards)
    assert abs(served[one.id] - served[two.id]) <= 1
    assert process.queue.shards[0].job_id != low.id


async def test_many_dispatchers_at_once_cut_every_line_once(bench: Bench) -> None:
    crowd = [DispatchProcess(bench, endpoints("a", "b", "c"), BalancingStrategy.WEIGHTED, f"p{i}") for i in range(4)]
    await crowd[0].serve("a", "b", "c")
    job = await bench.open_real_job(300)
    cut: list[Shard] = []
    async with asyncio.timeout(30):
        while not (await bench.jobs.get(job.id)).is_final:
            await asyncio.gather(*(process.dispatcher.run() for process in crowd))
            for process in crowd:
                for shard in process.queue.shards:
                    cut.append(shard)
                    if await bench.work(shard):
                        assert await bench.assembly().end_if_done(job.id)
                process.queue.shards.clear()
    assert sorted((s.first, s.end) for s in cut) == [(s, e) for s, e in _tiles(sorted((s.first, s.end) for s in cut))]
    assert sum(shard.lines for shard in cut) == 300
    for process in crowd:
        await process.fleet.__aexit__(None, None, None)


def _tiles(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges as they should be: each begins where the last one ended."""
    starts = [0, *(end for _, end in ranges)]
    return [(start, end) for start, (_, end) in zip(starts, ranges, strict=False)]


async def test_a_broker_that_is_away_costs_time_only(process: DispatchProcess) -> None:
    job = await process.bench.open_job(20)
    process.queue.broken = True
    await process.dispatcher.run()
    process.queue.broken = False
    await process.bench.let_leases_run_out()
    await process.janitor._take_back()
    while await process.dispatcher.run():
        pass
    # What was cut before is cut again, as it was; nothing twice.
    ranges = sorted((shard.first, shard.end) for shard in process.queue.shards)
    assert ranges == _tiles(ranges) and ranges[0][0] == 0
    assert len(await process.bench.table.open_of(job.id)) == len(ranges)
