"""Fairness between jobs at full size, with one endpoint of 64 slots that takes 0.3 s for an answer, and two workers."""

import asyncio
import itertools
import time

import pytest

from tests.acceptance.cluster import Cluster, check_each_once, done_lines, ended, submit
from tests.acceptance.test_fairness import ids, start, under_way


@pytest.mark.parametrize("priority", [0, 10])
async def test_fairness_a_small_job_behind_one_of_20_000_lines(cluster: Cluster, priority: int) -> None:
    model = await start(cluster)
    async with cluster.node() as node:
        big = await submit(node, ids("big", 20_000))
        await under_way(node, big, 2000)
        names = ids("small", 20)
        submitted_at = time.monotonic()
        small = await submit(node, names, priority=priority)
        while not any(name in model.seen() for name in names):
            assert time.monotonic() - submitted_at < 2
            await asyncio.sleep(0.05)
        first_line_after = time.monotonic() - submitted_at
        small = await ended(node, small)
        ended_after = time.monotonic() - submitted_at
        print(f"priority {priority}: first line after {first_line_after:.2f} s, ended after {ended_after:.2f} s")
        assert ended_after < 6
        await check_each_once(node, small, names)
        await node.service.cancel(big.id)


async def test_fairness_five_priorities(cluster: Cluster) -> None:
    await start(cluster)
    async with cluster.node() as node:
        started_at = time.monotonic()
        jobs = {priority: await submit(node, ids(f"p{priority}", 800), priority=priority) for priority in (1, 2, 3, 4, 5)}
        order: list[int] = []

        async def watch(priority: int) -> None:
            await ended(node, jobs[priority], 90)
            order.append(priority)
            print(f"priority {priority} ended after {time.monotonic() - started_at:.1f} s")

        await asyncio.gather(*(watch(priority) for priority in jobs))
    assert order == [5, 4, 3, 2, 1]


async def test_fairness_two_jobs_of_5_000_lines_5_seconds_apart(cluster: Cluster) -> None:
    await start(cluster)
    async with cluster.node() as node:
        first = await submit(node, ids("first", 5000))
        await asyncio.sleep(5)
        second = await submit(node, ids("second", 5000))
        before = await done_lines(node, first)
        # From the second's start to the first's end, in four windows of the first's lines.
        marks = [(before, 0)]
        for quarter in range(1, 5):
            await under_way(node, first, before + (5000 - before) * quarter // 4)
            marks.append((await done_lines(node, first), await done_lines(node, second)))
        of_first, of_second = marks[-1][0] - before, marks[-1][1]
        windows = [(b[1] - a[1]) / (b[0] - a[0] + b[1] - a[1]) for a, b in itertools.pairwise(marks)]
        print(f"second's share: {of_second / (of_first + of_second):.3f} in all; by window {[f'{w:.3f}' for w in windows]}")
        assert of_second / (of_first + of_second) == pytest.approx(0.5, rel=0.1)
        await node.service.cancel(second.id)
