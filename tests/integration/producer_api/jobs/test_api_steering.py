"""Jobs that are paused and changed while they run."""

import asyncio

import httpx
import pytest
from live_server import batch_lines, create_batch, error_of, open_for_work, upload

from jobs.node import Node
from jobs.storage import keys


def make(http: httpx.Client, lines: int = 8, **fields: object) -> str:
    return str(create_batch(http, upload(http, batch_lines(lines))["id"], **fields)["id"])


async def change(http: httpx.Client, job: str, **fields: object) -> httpx.Response:
    return await asyncio.to_thread(http.patch, f"/api/v1/jobs/{job}", json=fields)


async def test_a_job_is_paused_and_goes_on(http: httpx.Client, node: Node) -> None:
    job = await asyncio.to_thread(make, http)
    paused = (await change(http, job, paused=True)).json()
    assert paused["paused"]["reason"] == "held"
    assert await node.redis.zscore(keys.READY, job) is None
    assert "roadbalancer resume" in (await asyncio.to_thread(http.get, f"/api/v1/jobs/{job}/why")).json()["why"]
    assert (await change(http, job, paused=False)).json()["paused"] is None
    assert await node.redis.zscore(keys.READY, job) is not None


async def test_a_paused_job_is_not_given_out(http: httpx.Client, node: Node) -> None:
    job = await asyncio.to_thread(make, http)
    await change(http, job, paused=True)
    await open_for_work(node)
    assert await node.service.dispatcher.run() == 0
    await change(http, job, paused=False)
    assert (await node.service.jobs.get(job)).cursor > 0


async def test_another_priority_goes_first(http: httpx.Client, node: Node) -> None:
    first, second = await asyncio.to_thread(make, http), await asyncio.to_thread(make, http)
    for one, other in ((first, second), (second, first)):
        assert (await change(http, one, priority=5)).json()["priority"] == 5
        await change(http, other, priority=0)
        assert [job.decode() for job in await node.redis.zrange(keys.READY, 0, -1)] == [one, other]


async def test_the_priority_of_a_paused_job_holds_when_it_goes_on(http: httpx.Client, node: Node) -> None:
    first, second = await asyncio.to_thread(make, http), await asyncio.to_thread(make, http)
    await change(http, second, paused=True)
    await change(http, second, priority=5)
    await change(http, second, paused=False)
    assert [job.decode() for job in await node.redis.zrange(keys.READY, 0, -1)] == [second, first]


async def test_another_window_counts_from_the_beginning(http: httpx.Client, node: Node) -> None:
    job = await asyncio.to_thread(make, http)
    await change(http, job, completion_window="48h")
    found = await node.service.jobs.get(job)
    assert (found.window, found.expires_at) == ("48h", found.times["in_progress_at"] + 48 * 3600)


async def test_its_lines_go_to_its_endpoints_only(http: httpx.Client, node: Node) -> None:
    job = await asyncio.to_thread(make, http)
    assert (await change(http, job, endpoints=["two"])).status_code == 200
    await open_for_work(node)
    await node.service.dispatcher.run()
    firsts = await node.service.shards.open_of(job)
    assert {(await node.service.shards.state(job, first))["endpoint"] for first in firsts} == {"two"}
    await change(http, job, endpoints=None)
    assert (await node.service.jobs.get(job)).endpoints == ()


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"priority": 101}, 422, "priority"),
        ({"completion_window": "soon"}, 400, "completion_window"),
        ({"endpoints": ["nine"]}, 400, "endpoints"),
        ({}, 400, "max_cost"),
    ],
)
async def test_what_can_not_be_is_refused(http: httpx.Client, fields: dict[str, object], status: int, param: str) -> None:
    job = await asyncio.to_thread(make, http)
    refused = await change(http, job, **fields)
    assert (refused.status_code, error_of(refused)["param"]) == (status, param)


async def test_an_ended_job_can_not_be_changed(http: httpx.Client) -> None:
    job = await asyncio.to_thread(make, http)
    await asyncio.to_thread(http.delete, f"/api/v1/jobs/{job}")
    refused = await change(http, job, paused=True)
    assert (refused.status_code, error_of(refused)["code"]) == (400, "job_not_in_progress")
