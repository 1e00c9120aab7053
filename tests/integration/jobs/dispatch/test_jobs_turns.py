"""Whose turn it is, and what stopping and opening leave as it is."""

from dataclasses import replace

import pytest
from redis.exceptions import ResponseError

from balancer.outcome import Usage
from jobs.records import FileRecord
from jobs.records.states import JobStatus
from jobs.storage import keys
from tests.job_bench import Bench, finished, new_job


async def test_jobs_take_turns_by_lines_served(bench: Bench) -> None:
    large, small = await bench.open_job(1000), await bench.open_job(10)
    assert set(await bench.ready()) == {large.id, small.id}
    await bench.cut(large, 0, 100)
    assert (await bench.ready())[0] == small.id
    await bench.cut(small, 0, 5)
    assert (await bench.ready())[0] == small.id


async def test_a_new_job_neither_waits_for_the_past_nor_makes_others_wait_for_it(bench: Bench) -> None:
    old, older = await bench.open_job(10_000), await bench.open_job(10_000)
    await bench.cut(old, 0, 5000)
    await bench.cut(older, 0, 4000)
    new = await bench.open_job(10_000)
    assert (await bench.ready())[-1] == old.id
    await bench.cut(new, 0, 10)
    assert await bench.ready() == [older.id, new.id, old.id]


async def test_higher_priority_goes_first_however_much_it_has_had(bench: Bench) -> None:
    low, normal, high = [await bench.open_job(10**7, priority=p) for p in (-100, 0, 100)]
    await bench.cut(high, 0, 9_000_000)
    second = await bench.open_job(10, priority=100)
    ready = await bench.ready()
    assert (set(ready[:2]), ready[2:]) == ({high.id, second.id}, [normal.id, low.id])


async def test_a_range_of_a_stopped_job_brings_nothing_back(bench: Bench) -> None:
    job = await bench.open_job(10)
    shard = await bench.cut(job, 0, 10)
    await bench.jobs.stop(job.id, "cancelled")
    await bench.table.give_back(job.id, 0, shard.token)
    assert await bench.ready() == []


async def test_opening_a_job_twice_changes_nothing(bench: Bench) -> None:
    record = FileRecord("file-00000000", "in.jsonl", "batch", 1000, 0, lines=10)
    new = new_job("batch_12345678", record)
    job = await bench.jobs.open(new)
    await bench.cut(job, 0, 5)
    assert (await bench.jobs.open(new)).cursor == 5
    assert await bench.redis.zcard(keys.JOBS) == 1


async def test_stopping_an_ended_job_leaves_it_as_it_is(bench: Bench) -> None:
    job = await bench.open_job(10)
    assert await bench.jobs.finish(job, JobStatus.COMPLETED, {"completed": 10})
    assert (await bench.jobs.stop(job.id, "cancelled")).status is JobStatus.COMPLETED
    assert not await bench.jobs.finish(job, JobStatus.CANCELLED, {})
    assert (await bench.jobs.get(job.id)).status is JobStatus.COMPLETED


async def test_a_group_that_cannot_be_read_leaves_nothing_half_written(bench: Bench) -> None:
    job = await bench.open_job(4)
    shard = await bench.claim(await bench.cut(job, 0, 4))
    good, bad = finished(0), replace(finished(1), usage=Usage(True))  # a count of tokens that is no number
    with pytest.raises(ResponseError, match="unreadable"):
        await bench.table.record([(shard, [good, bad])])
    assert await bench.table.finished(shard) == {}
    assert (await bench.jobs.get(job.id)).ledger.done == 0
    await bench.table.record([(shard, [good])])
    assert (await bench.jobs.get(job.id)).tokens.prompt == good.usage.prompt
