"""Jobs with deadlines, and jobs that take only what no other wants, on real processes."""

import time

import pytest

from jobs.records.states import JobStatus
from tests.acceptance.cluster import Cluster, check_each_once, done_lines, ended, submit
from tests.acceptance.test_fairness import ids, start, under_way


@pytest.mark.exclusive
async def test_jobs_that_can_be_done_in_time_are_whatever_is_beside_them(cluster: Cluster) -> None:
    """80 lines a second: of three equal jobs the first would take 19 s with its even share, and may take 12."""
    await start(cluster, slots=16, latency=0.2)
    async with cluster.node() as node:
        first = await submit(node, ids("known", 100))  # from now on the pace is known
        await ended(node, first)
        names = ids("tight", 500)
        lax = [await submit(node, ids("hour", 1500), window="1h"), await submit(node, ids("day", 1500))]
        tight = await submit(node, names, window="12s")
        tight = await ended(node, tight)
        assert tight.status is JobStatus.COMPLETED and tight.ledger.expired == 0
        await check_each_once(node, tight, names)
        assert not [job for job in lax if (await node.service.jobs.get(job.id)).is_final]
        for job in lax:
            await node.service.cancel(job.id)


async def test_a_job_that_can_not_be_done_in_time_says_so_at_once(cluster: Cluster) -> None:
    await start(cluster, slots=16, latency=0.2)
    async with cluster.node() as node:
        await ended(node, await submit(node, ids("known", 100)))
        job = await submit(node, ids("late", 5000), window="20s")
        assert job.late_at is not None and 30 < job.late_at - time.time() < 120, "80 lines a second: 62 s"
        await node.service.cancel(job.id)


@pytest.mark.exclusive
async def test_a_background_job_takes_only_what_no_other_wants(cluster: Cluster) -> None:
    await start(cluster, slots=16, latency=0.2)
    async with cluster.node() as node:
        background = await submit(node, ids("background", 3000), background=True)
        await under_way(node, background, 100)
        names = ids("job", 400)
        job = await submit(node, names, priority=-100)
        await under_way(node, job, 40)
        before = await done_lines(node, background)
        await under_way(node, job, 340)
        meanwhile = await done_lines(node, background) - before
        assert meanwhile < 0.35 * 300, "with an even share it would be as many"
        job = await ended(node, job)
        await check_each_once(node, job, names)
        await under_way(node, background, before + meanwhile + 100)
        await node.service.cancel(background.id)
