"""What a key's budget does to its bulk jobs, with real workers."""

import dataclasses
import random
import time

import pytest

from jobs.access import Caller, KeyStore, Limits, Refused
from jobs.access.store import KeyOrder
from jobs.node import Node
from jobs.records import Job
from jobs.records.states import JobStatus, PauseReason
from jobs.rounds.retry import RetrySelection
from tests.acceptance.cluster import Cluster, done_lines, ended, submit
from tests.acceptance.test_fairness import ids
from tests.waiting import until


async def caller(node: Node, name: str, **limits: float) -> Caller:
    record, _ = await KeyStore(node.redis).create(KeyOrder(name, limits=Limits(**limits)))  # type: ignore[arg-type]
    return Caller.of(record)


async def paused(node: Node, job: Job) -> Job:
    async def rests() -> Job | None:
        found = await node.service.jobs.get(job.id)
        return found if found.paused and not await node.service.held_by_workers(found) else None

    return await until(rests, 30, f"{job.id} to be paused")


async def test_a_keys_budget_pauses_its_jobs(cluster: Cluster) -> None:
    # Each line costs half a cent.
    price = {"input": 0.0, "output": 1000.0}
    await cluster.start_model("m", {"max_concurrency": 8, "price": price}, latency=0.2)
    cluster.write_config()
    await cluster.start_worker()
    async with cluster.node() as node:
        poor, rich = await caller(node, "poor", budget_day=0.1), await caller(node, "rich", budget_day=1e6)
        job = await submit(node, ids("poor", 3000), caller=poor, priority=100)
        other = await submit(node, ids("rich", 40), caller=rich)
        job = await paused(node, job)
        assert job.paused is PauseReason.KEY_BUDGET
        one = job.cost / job.ledger.done
        assert 0.1 <= job.cost <= max(1.01 * 0.1, 0.1 + one)
        assert await until(lambda: done(node, other, 40), 30, "the other key's job")
        job = await node.service.limit_cost(job.id, None)
        assert job.paused is PauseReason.KEY_BUDGET, "a cap that is lifted is not the key's budget"
        next_one = await submit(node, ids("next", 10), caller=poor)
        assert next_one.paused is PauseReason.KEY_BUDGET
        await node.service.cancel(job.id)  # it would go first
        # The next day: what was spent is another day's.
        await node.redis.delete(*[name async for name in node.redis.scan_iter(f"rb:spent:{poor.id}:*")])
        assert await until(lambda: done(node, next_one, 10), 30, "its jobs to go on")


async def test_jobs_of_a_key_with_many_slots_overrun_its_budget_by_a_hundredth_at_most(cluster: Cluster) -> None:
    price = {"input": 1000.0, "output": 0.0}
    model = await cluster.start_model("m", {"price": price, "max_concurrency": 64}, latency=0.1)
    cluster.write_config()
    await cluster.start_worker()
    await cluster.start_worker()
    sizes = random.Random(7)
    prompts = {name: "word " * sizes.randint(1, 60) for name in [*ids("one", 1_000), *ids("two", 1_000)]}
    budget = round(0.5 * sum(map(len, prompts.values())) / 4 * price["input"] / 1e6, 6)
    async with cluster.node() as node:
        who = await caller(node, "who", budget_day=budget)
        jobs = [await submit(node, ids(name, 1_000), caller=who, prompt=prompts.__getitem__) for name in ("one", "two")]
        jobs = [await paused(node, job) for job in jobs]
        assert {job.paused for job in jobs} == {PauseReason.KEY_BUDGET}
        assert budget <= sum(job.cost for job in jobs) <= 1.01 * budget
        assert model.stats["requests"] == sum(job.ledger.done for job in jobs)


async def done(node: Node, job: Job, lines: int) -> bool:
    return await done_lines(node, job) >= lines


async def test_a_keys_jobs_go_at_its_pace_and_no_other_keys_do(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 32}, latency=0.01)
    cluster.write_config()
    await cluster.start_worker()
    await cluster.start_worker()
    async with cluster.node() as node:
        paced, free = await caller(node, "paced", rpm=120), await caller(node, "free")
        started = time.monotonic()
        job = await submit(node, ids("paced", 126), caller=paced)
        other = await submit(node, ids("free", 600), caller=free)
        await until(lambda: done(node, other, 600), 30, "the other key's job")
        others_took = time.monotonic() - started
        job = await ended(node, job)
        # A minute's worth at once, and then two a second, with both workers together.
        assert time.monotonic() - started >= 2.5 and (job.key_rpm, job.ledger.completed) == (120, 126)
        assert others_took < 15 and model.stats["requests"] == 726


async def test_a_revoked_keys_jobs_pause(cluster: Cluster) -> None:
    await cluster.start_model("m", {"max_concurrency": 4}, latency=0.1)
    cluster.write_config()
    await cluster.start_worker()
    async with cluster.node() as node:
        who = await caller(node, "who", rpm=100)
        job = await submit(node, ids("line", 2000), caller=who)
        await until(lambda: done(node, job, 20), what="a job under way")
        await node.service.revoke_key("who")
        job = await paused(node, job)
        assert job.paused is PauseReason.KEY_REVOKED
        await node.service.cancel(job.id)


async def test_a_key_bounds_the_priority_and_the_number_of_its_jobs(cluster: Cluster) -> None:
    await cluster.start_model("m", latency=0.05)
    cluster.write_config()
    async with cluster.node() as node:
        who = await caller(node, "who", priority=5, jobs=2)
        with pytest.raises(Refused, match="at most 5"):
            await submit(node, ids("line", 10), caller=who, priority=6)
        jobs = [await submit(node, ids("line", 10), caller=who, priority=5) for _ in range(2)]
        with pytest.raises(Refused, match="2 unfinished jobs"):
            await submit(node, ids("line", 10), caller=who)
        assert await submit(node, ids("line", 10), caller=dataclasses.replace(who, id="another"))
        await node.service.cancel(jobs[0].id)
        assert await submit(node, ids("line", 10), caller=who)
        with pytest.raises(Refused, match="2 unfinished jobs"):
            await node.service.retry(jobs[0].id, RetrySelection(), limits=who.limits)
        await node.service.cancel(jobs[1].id)
        again = await node.service.retry(jobs[0].id, RetrySelection(), limits=who.limits)
        assert again.status is JobStatus.IN_PROGRESS
