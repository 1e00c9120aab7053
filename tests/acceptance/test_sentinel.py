"""Redis behind Sentinel: the primary ends in the middle of a job, or is back after a while, and a replica takes its place."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from balancer.state.redis_connection import open_redis
from tests.acceptance.cluster import Cluster
from tests.acceptance.redis_failover import run_through_failover
from tests.acceptance.sentinel import SentinelTrio
from tests.waiting import until


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
def cluster_redis_url(trio: SentinelTrio) -> str:
    return trio.url


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


async def test_each_sentinel_is_asked_after_many_connections_without_the_first(trio: SentinelTrio) -> None:
    first, *others = trio.sentinels.values()
    client = open_redis(trio.url)
    async with client:
        os.kill(first.pid, signal.SIGSTOP)
        await asyncio.gather(*(client.ping() for _ in range(8)))
        os.kill(first.pid, signal.SIGCONT)
        for other in others:
            other.kill()
        await client.connection_pool.disconnect(inuse_connections=False)
        assert await client.ping()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_a_failover_in_the_middle_of_a_job_loses_no_line(cluster: Cluster, trio: SentinelTrio, end: signal.Signals) -> None:
    await run_through_failover(cluster, trio, end)
