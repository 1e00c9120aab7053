"""Jobs with windows of 30 s, 5 min and 1 h that can all be done in time, submitted together: none is late."""

import asyncio
import time

from jobs.records import Job
from jobs.records.states import JobStatus
from tests.acceptance.cluster import Cluster, check_each_once, ended, submit
from tests.acceptance.test_fairness import ids, start

LINES = {"1h": 20_000, "5m": 18_000, "30s": 3_000}
"""213 lines a second: 192 s in all. With even shares the job of 30 s would take 42."""


async def test_deadlines_of_30_seconds_5_minutes_and_1_hour(cluster: Cluster) -> None:
    await start(cluster)
    async with cluster.node() as node:
        await ended(node, await submit(node, ids("known", 500)))  # from now on the pace is known
        jobs = {window: await submit(node, ids(window, lines), window=window) for window, lines in LINES.items()}

        async def in_time(window: str, job: Job) -> None:
            job = await ended(node, job, 400)
            print(f"window {window}: {job.ledger.completed:,} lines, ended after {time.time() - job.created_at:.1f} s")
            assert job.status is JobStatus.COMPLETED
            await check_each_once(node, job, ids(window, LINES[window]))

        await asyncio.gather(*(in_time(window, job) for window, job in jobs.items()))
