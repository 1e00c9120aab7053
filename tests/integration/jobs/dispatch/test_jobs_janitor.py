"""The janitor requeues shards whose worker is gone, and ends jobs whose lines are done or whose window has passed."""

import asyncio
import time

import pytest
from dispatch_process import DispatchProcess, endpoints

from balancer.routing import BalancingStrategy
from balancer.state.redis_connection import AsyncRedis
from jobs.dispatch.lease_table import LEASE, QUEUE_LEASE
from jobs.dispatch.queueing import queue_name
from jobs.intake.files import Upload
from jobs.records import Job, Shard
from jobs.records.states import JobStatus
from jobs.storage import keys
from tests.job_bench import Bench, in_chunks, input_line, new_job

# ---- taking back ----


async def overdue(process: DispatchProcess, claimed: bool) -> tuple[Job, Shard]:
    job = await process.bench.open_job(20)
    shard = await process.bench.cut(job, 0, 10)
    if claimed:
        await process.bench.claim(shard)
    await process.bench.let_leases_run_out()
    return job, shard


async def test_what_a_dead_worker_held_comes_back(process: DispatchProcess) -> None:
    job, _ = await overdue(process, claimed=True)
    await process.janitor._take_back()
    assert await process.bench.table.returned_of(job.id) == [(0, 10)]


async def test_a_message_that_is_lost_is_made_again(process: DispatchProcess) -> None:
    job, _ = await overdue(process, claimed=False)
    await process.janitor._take_back()
    assert await process.bench.table.returned_of(job.id) == [(0, 10)]


async def test_a_message_that_waits_in_its_queue_is_left_there(process: DispatchProcess) -> None:
    job, _ = await overdue(process, claimed=False)
    await process.bench.redis.rpush(queue_name("a"), "message")
    await process.janitor._take_back()
    assert await process.bench.table.returned_of(job.id) == []
    lease = await process.bench.lease_of(job, 0)
    assert lease is not None and QUEUE_LEASE - 2 < lease <= QUEUE_LEASE


@pytest.mark.parametrize("trouble", ["the endpoint fails", "the endpoint is gone", "there are fewer messages than shards"])
async def test_a_message_that_waits_in_vain_is_made_again(process: DispatchProcess, trouble: str) -> None:
    job, _ = await overdue(process, claimed=False)
    await process.bench.redis.rpush(queue_name("a"), "message")
    match trouble:
        case "the endpoint fails":
            await process.fail("a")
        case "the endpoint is gone":
            await process.bench.redis.hset(keys.shard(job.id, 0), "endpoint", "old")
        case _:
            await process.bench.cut(job, 10, 20)
            await process.bench.let_leases_run_out()
    await process.janitor._take_back()
    assert (0, 10) in await process.bench.table.returned_of(job.id)


async def test_what_is_kept_is_not_taken_back(process: DispatchProcess) -> None:
    job = await process.bench.open_job(20)
    await process.bench.claim(await process.bench.cut(job, 0, 10))
    await process.janitor._take_back()
    assert await process.bench.table.open_of(job.id) == [0]


async def test_nothing_is_taken_back_right_after_redis_was_away(process: DispatchProcess) -> None:
    job, _ = await overdue(process, claimed=True)
    process.redis_unbroken_for = LEASE - 0.1
    assert not await process.janitor._take_back()
    assert await process.bench.table.open_of(job.id) == [0]
    process.redis_unbroken_for = LEASE
    process.janitor._failed_at = time.monotonic()
    assert not await process.janitor._take_back(), "it has answered others, but not here"
    process.janitor._failed_at -= LEASE
    assert await process.janitor._take_back()


async def test_no_worker_is_taken_for_dead_that_has_had_no_time_to_connect(process: DispatchProcess) -> None:
    """As when Redis is away for two seconds, and another worker becomes janitor as soon as it is back."""
    job = await process.bench.open_job(20)
    shard = await process.bench.cut(job, 0, 10)
    assert (await process.bench.table.claim(job.id, 0, 10, shard.token, "w2/x")).shard
    await process.bench.redis.sadd(keys.PRESENT, "w2")
    await process.bench.redis.zincrby(keys.LEASES, -2000, keys.shard_member(job.id, 0))
    process.redis_unbroken_for = 0.1
    assert not await process.janitor._take_from_gone(patience=0.0)
    assert await process.bench.table.open_of(job.id) == [0]
    process.redis_unbroken_for = LEASE
    assert await process.janitor._take_from_gone(patience=0.0)


async def test_a_lease_without_a_shard_is_swept_away(process: DispatchProcess) -> None:
    await process.bench.redis.zadd(keys.LEASES, {"batch_00000000:5": 1})
    await process.janitor._take_back()
    assert await process.bench.redis.zcard(keys.LEASES) == 0


# ---- ends ----


async def test_late_jobs_expire_and_keep_what_is_finished(process: DispatchProcess) -> None:
    late, early = await process.bench.open_real_job(20, window=0.0), await process.bench.open_real_job(20)
    await process.bench.redis.hset(keys.job(late.id), "expires_at", int(time.time()) - 1)
    await process.end_and_expire()
    assert (await process.bench.jobs.get(late.id)).status is JobStatus.EXPIRED
    assert (await process.bench.jobs.get(early.id)).status is JobStatus.IN_PROGRESS


async def test_an_expired_job_waits_for_the_worker_that_has_lines_of_it(process: DispatchProcess) -> None:
    job = await process.bench.open_real_job(20)
    shard = await process.bench.claim(await process.bench.cut(job, 0, 10))
    await process.bench.record(shard, range(4))
    await process.bench.redis.hset(keys.job(job.id), "expires_at", 1)
    await process.end_and_expire()
    assert not (await process.bench.jobs.get(job.id)).is_final
    await process.bench.table.give_back(job.id, 0, shard.token)
    await process.end_and_expire()
    job = await process.bench.jobs.get(job.id)
    assert (job.status, job.ledger.completed, job.ledger.expired) == (JobStatus.EXPIRED, 4, 16)


async def test_a_job_whose_worker_died_at_the_last_step_is_ended(process: DispatchProcess) -> None:
    job = await process.bench.open_real_job(20)
    assert await process.bench.work(await process.bench.cut(job, 0, 20))
    await process.end_and_expire()
    assert (await process.bench.jobs.get(job.id)).status is JobStatus.COMPLETED


async def test_one_job_that_cannot_be_ended_keeps_no_other_from_its_end(process: DispatchProcess) -> None:
    broken, whole = await process.bench.open_real_job(20), await process.bench.open_real_job(20)
    for job in (broken, whole):
        await process.bench.work(await process.bench.cut(job, 0, 20))
    for entry in await process.bench.objects.folder(f"jobs/{broken.id}/parts"):
        await process.bench.objects.delete(entry.path)
    await process.end_and_expire()
    assert (await process.bench.jobs.get(whole.id)).status is JobStatus.COMPLETED
    assert not (await process.bench.jobs.get(broken.id)).is_final


async def test_a_job_that_cannot_be_ended_says_why_and_does_not_hold_up_the_round(process: DispatchProcess) -> None:
    job = await process.bench.open_real_job(20)
    await process.bench.work(await process.bench.cut(job, 0, 20))
    released = asyncio.Event()

    async def never(_: str) -> bool:
        await released.wait()
        raise OSError("no space left on device")

    process.endings._assembly.end_if_done = never  # type: ignore[method-assign]
    await process.janitor._round()
    released.set()
    await asyncio.gather(*process.endings._under_way.values())
    waiting = (await process.bench.jobs.get(job.id)).waiting
    assert waiting is not None and "no space left on device" in waiting.reason
    assert waiting.next_attempt_at is not None and waiting.next_attempt_at > time.time()


async def test_a_job_says_that_its_endpoints_are_down_or_have_no_worker(process: DispatchProcess) -> None:
    job = await process.bench.open_real_job(20)
    for name in process.fleet.endpoints:
        await process.fail(name)
    await process.dispatcher.run()
    waiting = (await process.bench.jobs.get(job.id)).waiting
    assert waiting is not None and "connection_error: refused" in waiting.reason
    assert waiting.next_attempt_at is not None and 0 < waiting.next_attempt_at - time.time() < 3
    await process.bench.redis.delete(keys.SERVING)
    process.dispatcher._marked_at.clear()
    await process.dispatcher.run()
    waiting = (await process.bench.jobs.get(job.id)).waiting
    assert waiting is not None and "no worker is running" in waiting.reason


async def test_the_janitor_survives_any_round(process: DispatchProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []

    async def stumble() -> None:
        rounds.append(1)
        raise KeyError("a bug")

    monkeypatch.setattr("jobs.upkeep.janitor.ROUND_EVERY", 0.01)
    monkeypatch.setattr(process.janitor, "_round", stumble)
    task = asyncio.create_task(process.janitor.run_forever())
    async with asyncio.timeout(5):
        while len(rounds) < 3:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_one_janitor_at_a_time_and_the_next_one_when_it_leaves(bench: Bench) -> None:
    one, two = (DispatchProcess(bench, endpoints("a"), BalancingStrategy.RANDOM, f"p{i}").janitor for i in range(2))
    assert (await one._office.hold(), await two._office.hold(), await one._office.hold()) == (True, False, True)
    await two.leave()
    assert not await two._office.hold()
    await one.leave()
    assert await two._office.hold()


async def test_old_files_go_and_inputs_in_use_stay(process: DispatchProcess) -> None:
    content = input_line(0)
    old = await process.bench.files.add(Upload("old.jsonl"), in_chunks(content))
    used = await process.bench.files.add(Upload("used.jsonl"), in_chunks(content))
    kept = await process.bench.files.add(Upload("kept.jsonl"), in_chunks(content))
    for record in (old, used):
        await process.bench.redis.hset(keys.file(record.id), "expires_at", 1)
    await process.bench.jobs.open(new_job(process.bench.job_id(), used))
    await process.sweep._delete_old_files()
    left, _ = await process.bench.files.page(10)
    assert {record.id for record in left} == {used.id, kept.id}


async def test_a_whole_round_gives_out_what_can_be_given_out(process: DispatchProcess, redis: AsyncRedis) -> None:
    job = await process.bench.open_real_job(20)
    await process.janitor._round()
    assert process.queue.shards
    assert {shard.job_id for shard in process.queue.shards} == {job.id}
