"""Slow answers are waited for, dead servers are left, both by default settings."""

import asyncio
import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.acceptance.cluster import Cluster, ModelServer, check_each_once, ended, submit
from tests.endurance.hosts import Hosts, can_make_hosts, start_model
from tests.waiting import until


async def test_slow_answers_of_180_seconds_pass_where_others_take_one(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 8}, latency=1.0)
    cluster.write_config()
    await cluster.start_worker()
    async with cluster.node() as node:
        await ended(node, await submit(node, [f"fast-{n}" for n in range(80)]))
        model.behave(latency=180.0)
        slow = [f"slow-{n}" for n in range(4)]
        job = await submit(node, slow)
        await until(lambda: model.stats["in_flight"] == 4, what="the slow ones to be under way")
        model.behave(latency=1.0)
        for _ in range(8):
            await ended(node, await submit(node, [f"beside-{n}" for n in range(40)]))
            await asyncio.sleep(15)
        job = await ended(node, job, 300)
        await check_each_once(node, job, slow)
    assert all(model.seen()[name] == 1 for name in slow)


async def test_slow_or_dead_a_server_that_hangs_is_left_within_15_seconds(cluster: Cluster) -> None:
    hanging = await cluster.start_model("hanging", {"max_concurrency": 8}, latency=1.0)
    took = await left_after(cluster, hanging, lambda: os.kill(hanging.pid, signal.SIGSTOP))
    os.kill(hanging.pid, signal.SIGCONT)
    assert took < 15


@pytest.mark.skipif(not can_make_hosts(), reason="needs root and `ip`")
async def test_slow_or_dead_a_host_whose_packets_are_lost_is_left_within_15_seconds(cluster: Cluster) -> None:
    with Hosts(1) as hosts:
        vanishing = await start_model(cluster, hosts, 1, latency=1.0, max_concurrency=8)
        assert await left_after(cluster, vanishing, lambda: hosts.lose(1)) < 15


async def left_after(cluster: Cluster, leaving: ModelServer, leave: Callable[[], None]) -> float:
    """Return the seconds after which the lines that were at a server as it left are sent elsewhere."""
    well = await cluster.start_model("well", {"max_concurrency": 8}, latency=1.0)
    cluster.write_config()
    await cluster.start_worker()
    async with cluster.node() as node:
        await ended(node, await submit(node, [f"before-{n}" for n in range(64)]))
        leaving.behave(latency=5.0)
        names = [f"r{n}" for n in range(16)]
        job = await submit(node, names)
        await until(lambda: leaving.stats["in_flight"] > 0, what="lines to be under way")
        caught = set(leaving.get("keys_in_flight")["keys"])
        leave()
        left_at = time.monotonic()
        await until(lambda: caught <= set(well.seen()), 40.0, what="the lines to be sent elsewhere")
        took = time.monotonic() - left_at
        await check_each_once(node, await ended(node, job, 60), names)
    print(f"{len(caught)} lines were sent elsewhere after {took:.1f} s")
    return took
