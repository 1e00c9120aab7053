"""Fairness between jobs, on real processes: small and urgent jobs start at once, equal jobs share evenly."""

import asyncio
import time

import pytest

from jobs.node import Node
from jobs.records import Job
from tests.acceptance.cluster import Cluster, ModelServer, check_each_once, done_lines, ended, submit
from tests.waiting import until


def ids(name: str, count: int) -> list[str]:
    return [f"{name}-{number}" for number in range(count)]


async def start(cluster: Cluster, slots: int = 64, latency: float = 0.3) -> ModelServer:
    """One endpoint and two workers."""
    model = await cluster.start_model("m", {"max_concurrency": slots}, latency=latency)
    cluster.write_config()
    for _ in range(2):
        await cluster.start_worker()
    return model


async def under_way(node: Node, job: Job, lines: int) -> None:
    """Wait until so many lines of a job are done: the endpoint's pace is known, and it holds all that its credit allows."""

    async def enough() -> bool:
        return await done_lines(node, job) >= lines

    await until(enough, 60, f"{lines} lines of {job.id}")


@pytest.mark.parametrize("priority", [0, 10])
async def test_a_small_job_does_not_wait_for_a_big_one(cluster: Cluster, priority: int) -> None:
    await start(cluster)
    async with cluster.node() as node:
        big = await submit(node, ids("big", 4000))
        await under_way(node, big, 1000)
        names = ids("small", 20)
        small = await submit(node, names, priority=priority)
        submitted_at = time.monotonic()
        await under_way(node, small, 1)
        assert time.monotonic() - submitted_at < 2
        small = await ended(node, small)
        assert time.monotonic() - submitted_at < 6
        await check_each_once(node, small, names)
        assert not (await node.service.jobs.get(big.id)).is_final
        await node.service.cancel(big.id)


async def test_jobs_end_in_the_order_of_their_priorities(cluster: Cluster) -> None:
    await start(cluster, latency=0.2)
    async with cluster.node() as node:
        # It has all the credit there is while the others come: what one of them was given before the next one came stays with it.
        await submit(node, ids("first", 3000), priority=99)
        jobs = {priority: await submit(node, ids(f"p{priority}", 800), priority=priority) for priority in (-5, 0, 2, 5, 9)}
        order: list[int] = []

        async def watch(priority: int) -> None:
            await ended(node, jobs[priority], 60)
            order.append(priority)

        await asyncio.gather(*(watch(priority) for priority in jobs))
    assert order == [9, 5, 2, 0, -5]
