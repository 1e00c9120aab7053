"""Requests in flight whose answers have become useless are aborted at their endpoint within a second. Those of cancelled jobs are
in test_large_and_late_answers, of hedges and of callers that go away in tests/integration."""

import asyncio
import signal
import time
from typing import Any

import pytest

from jobs.node import Node
from jobs.records import Job
from jobs.records.states import JobStatus
from tests.acceptance.cluster import Cluster, ModelServer, Process, check_each_once, ended, submit
from tests.waiting import until
from workers.engine import STOP_GRACE

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


async def all_slots_used(node: Node, model: ModelServer, lines: int = SLOTS, **request: Any) -> tuple[Job, list[str]]:
    """Open a job that fills the endpoint; return it and its ids."""
    names = [f"r{n}" for n in range(lines)]
    job = await submit(node, names, **request)
    await until(lambda: in_flight(model) == SLOTS, what="all slots to be used")
    return job, names


async def test_a_job_that_expires_takes_its_requests_back(cluster: Cluster) -> None:
    model, _ = await start(cluster)
    async with cluster.node() as node:
        job, names = await all_slots_used(node, model, 20, window="3s")
        await asyncio.sleep(job.expires_at - time.time())
        await until(lambda: in_flight(model) == 0, AT_ONCE, "the requests to be taken back")
        job = await ended(node, job)
        await check_each_once(node, job, names)
    assert job.status is JobStatus.EXPIRED


async def test_a_worker_that_has_lost_its_shard_takes_its_requests_back(cluster: Cluster) -> None:
    model, frozen = await start(cluster)
    async with cluster.node() as node:
        job, names = await all_slots_used(node, model)
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
        job, names = await all_slots_used(node, model)
        asked_at = time.monotonic()
        leaving.handle.send_signal(signal.SIGTERM)
        await until(lambda: in_flight(model) == 0, STOP_GRACE + AT_ONCE, "the requests to be taken back")
        assert time.monotonic() - asked_at >= STOP_GRACE - AT_ONCE, "they may end until then"
        leaving.handle.wait()
        model.behave(latency=0.02)
        await cluster.start_worker()
        job = await ended(node, job)
        await check_each_once(node, job, names)
    assert job.ledger.completed == SLOTS
