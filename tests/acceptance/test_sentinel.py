"""Redis behind Sentinel: the primary ends in the middle of a job, or is back after a while, and a replica takes its place."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from balancer.state.redis_connection import open_redis
from jobs.storage.durability import make_durable
from tests.acceptance.cluster import HTTP, Cluster, check_each_once, done_lines, ended, recorded, submit
from tests.acceptance.prefork import Prefork
from tests.acceptance.sentinel import SentinelTrio
from tests.waiting import until

LINES = 600
AT_ONCE = 16


@pytest.fixture
async def trio(tmp_path: Path) -> AsyncIterator[SentinelTrio]:
    made = SentinelTrio(tmp_path)
    try:
        await made.start()
        yield made
    finally:
        for process in made.processes:
            process.end()


@pytest.fixture
async def cluster(tmp_path: Path, prefork: Prefork, trio: SentinelTrio) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path, prefork)
    made.settings["redis_url"] = trio.url
    try:
        yield made
    finally:
        made.end()


async def test_a_connection_to_a_server_that_has_a_successor_is_not_kept(trio: SentinelTrio) -> None:
    """One that was in use while the others learned of the successor: the server would answer from what it had before."""
    client = open_redis(trio.url)
    async with client:
        in_use = await client.connection_pool.get_connection()
        primary = trio.primary()
        os.kill(trio.servers[primary].pid, signal.SIGSTOP)
        await until(lambda: trio.primary() != primary, what="another primary")
        await client.set("key", "new")
        os.kill(trio.servers[primary].pid, signal.SIGCONT)
        assert in_use.port == primary and in_use.is_connected
        await client.connection_pool.release(in_use)
        assert not in_use.is_connected
        answers = await asyncio.gather(*(client.get("key") for _ in range(8)))
        assert answers == [b"new"] * 8


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_a_failover_in_the_middle_of_a_job_loses_no_line(cluster: Cluster, trio: SentinelTrio, end: signal.Signals) -> None:
    model = await cluster.start_model("m", {"max_concurrency": AT_ONCE}, latency=0.15)
    cluster.write_config()
    workers = [await cluster.start_worker(), await cluster.start_worker()]
    _, api = await cluster.start_api()
    async with cluster.node() as node:
        names = [f"line-{number:05d}" for number in range(LINES)]
        job = await submit(node, names)
        await until(lambda: model.stats["completed"] > LINES / 5, what="the job to be under way")
        answered_before = set(model.answered())
        await until(lambda: recorded(node, job, answered_before), 2, "what is answered to be recorded")
        await make_durable(node.redis)
        primary = trio.primary()
        os.kill(trio.servers[primary].pid, end)
        await until(lambda: trio.primary() != primary, what="another primary")
        if end == signal.SIGSTOP:  # it is back, and does what it was sent meanwhile; then it learns of its successor
            os.kill(trio.servers[primary].pid, signal.SIGCONT)
        assert await done_lines(node, job) < LINES, "the job had ended before the failover: the test shows nothing"
        job = await ended(node, job, 60)
        await check_each_once(node, job, names)
        later = await submit(node, [f"later-{number}" for number in range(20)])
        await ended(node, later)
    assert all(worker.alive for worker in workers)
    assert HTTP.get(f"{api}/api/v1/jobs/{job.id}").json()["status"] == "completed"
    again = {name for name, times in model.seen().items() if times > 1}
    assert not again & answered_before, "the replicas had seen these"
    if end == signal.SIGKILL:
        assert len(again) <= 2 * AT_ONCE, "more was sent again than was under way"
