"""Requests in flight whose answers have become useless are aborted at their endpoint within a second. Those of cancelled jobs are
in test_large_and_late_answers, of hedges and of callers that go away in tests/integration."""

import asyncio
import signal
import time

import pytest

from jobs.states import JobStatus
from tests.acceptance.cluster import Cluster, ModelServer, Process, check_each_once, ended, submit
from tests.waiting import until

SLOTS = 8
AT_ONCE = 1.0
"""Seconds."""
pytestmark = pytest.mark.exclusive


async def start(cluster: Cluster) -> tuple[ModelServer, Process]:
    """Start a worker and an endpoint that does not answer soon."""
    model = await cluster.start_model("m", {"max_concurrency": SLOTS}, latency=60.0)
    cluster.write_config()
    return model, await cluster.start_worker()


def in_flight(model: ModelServer) -> int:
    found: int = model.stats["in_flight"]
    return found


async def test_a_job_that_expires_takes_its_requests_back(cluster: Cluster) -> None:
    model, _ = await start(cluster)
    async with cluster.node() as node:
        names = [f"r{n}" for n in range(20)]
        job = await submit(node, names, window="3s")
        await until(lambda: in_flight(model) == SLOTS, what="all slots to be used")
        await asyncio.sleep(job.expires_at - time.time())
        await until(lambda: in_flight(model) == 0, AT_ONCE, "the requests to be taken back")
        job = await ended(node, job)
        await check_each_once(node, job, names)
    assert job.status is JobStatus.EXPIRED


async def test_a_worker_that_has_lost_its_shard_takes_its_requests_back(cluster: Cluster) -> None:
    model, frozen = await start(cluster)
    async with cluster.node() as node:
        names = [f"r{n}" for n in range(SLOTS)]
        job = await submit(node, names)
        await until(lambda: in_flight(model) == SLOTS, what="all slots to be used")
        await cluster.start_worker()
        frozen.handle.send_signal(signal.SIGSTOP)
        await until(lambda: in_flight(model) == 2 * SLOTS, what="the other worker to send the lines again")
        frozen.handle.send_signal(signal.SIGCONT)
        await until(lambda: model.stats["aborted"] == SLOTS, AT_ONCE, "the requests to be taken back")
        assert in_flight(model) == SLOTS
        await node.service.cancel(job.id)
        await check_each_once(node, await ended(node, job), names)


async def test_a_worker_that_drains_past_its_grace_takes_its_requests_back(cluster: Cluster) -> None:
    model, leaving = await start(cluster)
    async with cluster.node() as node:
        names = [f"r{n}" for n in range(SLOTS)]
        job = await submit(node, names)
        await until(lambda: in_flight(model) == SLOTS, what="all slots to be used")
        leaving.kill(signal.SIGTERM)
        await until(lambda: in_flight(model) == 0, AT_ONCE, "the requests to be taken back")
        model.behave(latency=0.02)
        await cluster.start_worker()
        job = await ended(node, job)
        await check_each_once(node, job, names)
    assert job.ledger.completed == SLOTS
