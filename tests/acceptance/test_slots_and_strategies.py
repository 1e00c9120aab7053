"""Invariant 2, and the shares that each strategy promises, across several worker processes."""

import asyncio
import signal
import time
from collections import Counter
from typing import Any

import pytest

from tests.acceptance.cluster import Cluster, ModelServer, check_each_once, ended, submit
from tests.acceptance.test_nothing_is_lost import ids
from tests.waiting import until


def seconds_at(model: ModelServer) -> Counter[int]:
    """How long each number of requests has been in flight, in seconds."""
    found = model.get("in_flight_samples")["seconds_at"]
    return Counter({int(level): seconds for level, seconds in found.items()})


@pytest.mark.exclusive
async def test_three_processes_use_all_slots_and_never_more(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 8}, latency=0.2)
    cluster.write_config()
    for _ in range(3):
        await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(250)
        job = await submit(node, names)
        await until(lambda: model.stats["completed"] >= 16, what="the job to be under way")
        before = seconds_at(model)
        await until(lambda: model.stats["completed"] >= 200, what="the job to come near its end")
        meanwhile = seconds_at(model) - before
        job = await ended(node, job)
        await check_each_once(node, job, names)
    assert model.stats["max_in_flight"] == 8
    assert meanwhile[8] / meanwhile.total() > 0.85


async def test_the_gauge_is_true_again_after_a_crash(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 8}, latency=0.3)
    cluster.write_config()
    victim, _ = await cluster.start_worker(), await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(600)
        job = await submit(node, names)
        await until(lambda: model.stats["completed"] > 40, what="the job to be under way")
        victim.kill()
        killed_at = time.monotonic()
        await until(lambda: model.stats["in_flight"] == 8, 14, "all slots to be used again")
        assert time.monotonic() - killed_at < 14
        model.behave(latency=0.02)  # what matters has been seen
        job = await ended(node, job, 90)
        await check_each_once(node, job, names)
    assert model.stats["max_in_flight"] <= 8


async def run_over(cluster: Cluster, count: int, endpoints: dict[str, dict[str, Any]], **settings: Any) -> list[ModelServer]:
    models = [await cluster.start_model(name, **options) for name, options in endpoints.items()]
    cluster.write_config(**settings)
    for _ in range(2):
        await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(count)
        job = await ended(node, await submit(node, names), 100)
        await check_each_once(node, job, names)
    return models


@pytest.mark.exclusive
async def test_weights_are_kept_by_line(cluster: Cluster) -> None:
    endpoints = {f"w{w}": {"endpoint": {"weight": w, "max_concurrency": 16}, "latency": 0.1} for w in (1, 2, 3)}
    models = await run_over(cluster, 1500, endpoints, strategy="weighted")
    shares = [model.stats["completed"] / 1500 for model in models]
    for share, weight in zip(shares, (1, 2, 3), strict=True):
        assert share == pytest.approx(weight / 6, rel=0.05), shares


@pytest.mark.exclusive
async def test_least_connections_gives_a_slow_endpoint_less_and_ends_together(cluster: Cluster) -> None:
    fast = await cluster.start_model("fast", {"max_concurrency": 32}, latency=0.1)
    slow = await cluster.start_model("slow", {"max_concurrency": 32}, latency=0.4)
    cluster.write_config(strategy="least_connections")
    for _ in range(2):
        await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(3000)
        started = time.monotonic()
        job = await submit(node, names)

        async def at_95() -> bool:
            return (await node.service.jobs.get(job.id)).ledger.done >= 2850

        await until(at_95, 60)
        last_part_at = time.monotonic()
        job = await ended(node, job)
        whole = time.monotonic() - started
        await check_each_once(node, job, names)
    assert slow.stats["completed"] / fast.stats["completed"] == pytest.approx(0.25, abs=0.06)
    assert (time.monotonic() - last_part_at) / whole < 0.15


@pytest.mark.parametrize("strategy", ["round_robin", "random", "weighted", "least_connections"])
async def test_equal_endpoints_share_equally(cluster: Cluster, strategy: str) -> None:
    endpoints = {name: {"endpoint": {"max_concurrency": 8}, "latency": 0.05} for name in ("a", "b")}
    models = await run_over(cluster, 1000, endpoints, strategy=strategy)
    for model in models:
        assert model.stats["completed"] / 1000 == pytest.approx(0.5, abs=0.07)


async def test_requests_a_minute_are_kept_across_processes(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 32, "rpm": 600}, latency=0.01)
    cluster.write_config()
    for _ in range(2):
        await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(60)
        job = await ended(node, await submit(node, names))
        await check_each_once(node, job, names)
    stats = model.stats
    # 600 a minute is 10 a second, of which the first second's worth may go at once
    assert stats["last_at"] - stats["first_at"] >= 4.5


async def test_a_worker_that_was_frozen_takes_no_more_than_is_left(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 64}, latency=0.3)
    cluster.write_config()
    frozen, _ = [await cluster.start_worker() for _ in range(2)]
    async with cluster.node() as node:
        job = await submit(node, ids(20_000))
        await until(lambda: model.stats["in_flight"] >= 60, what="a full endpoint")
        await asyncio.sleep(1)
        frozen.handle.send_signal(signal.SIGSTOP)
        await asyncio.sleep(12)  # longer than its slots and its leases last
        before = model.stats["completed"]
        frozen.handle.send_signal(signal.SIGCONT)
        await until(lambda: model.stats["completed"] > before + 1000, what="a thousand more answers")
        assert model.stats["max_in_flight"] <= 64
        await node.service.cancel(job.id)
