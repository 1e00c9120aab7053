"""Chats keep their room beside a job that takes all there is."""

import asyncio
import statistics
from typing import Any

import pytest

from tests.acceptance.cluster import Cluster, submit
from tests.acceptance.raw_http import ask
from tests.acceptance.test_gateway_under_fire import request, start_gateway, ticks
from tests.waiting import until

KNEE, LATENCY = 32, 0.3


async def chats(port: int) -> float:
    """Ask five times a second for 20 s; return the 95th percentile of the seconds until the answer."""
    asked = []
    async for number in ticks(5, 20):
        asked.append(asyncio.create_task(ask(port, request(f"chat-{number}", "simulated"))))
    answers = await asyncio.gather(*asked)
    assert {answer.status for answer in answers} == {200}
    return statistics.quantiles([answer.seconds for answer in answers], n=20)[-1]


@pytest.mark.parametrize("kind", [{}, {"background": True}], ids=["a job", "a background job"])
async def test_chats_take_little_longer_beside_a_job_whose_limit_was_found(cluster: Cluster, kind: dict[str, Any]) -> None:
    model = await cluster.start_model("m", {}, latency=LATENCY, knee=KNEE)
    _, port = await start_gateway(cluster)
    for _ in range(2):
        await cluster.start_worker()
    idle = await chats(port)
    async with cluster.node() as node:
        job = await submit(node, [f"line-{n}" for n in range(int(80 * KNEE / LATENCY))], **kind)
        await until(lambda: model.stats["completed"] > 25 * KNEE / LATENCY, 60, "the limit to be found")
        busy = await chats(port)
        await node.fleet.limits.refresh()
        limit = node.fleet.limits["m"]
        assert not (await node.service.jobs.get(job.id)).is_final
        await node.service.cancel(job.id)
    print(f"{idle:.3f} s alone, {busy:.3f} s beside a job; limit {limit.value}, by {limit.limited_by}")
    assert busy <= 1.5 * idle
