"""A fleet that changes while it runs: endpoints are added, changed, drained and removed under a job and under chats."""

import asyncio
import signal

import httpx
import pytest

from tests.acceptance.cluster import HTTP, Cluster, ModelServer, check_each_once, ended, submit
from tests.waiting import until


async def test_no_line_and_no_chat_is_lost_when_the_fleet_changes(cluster: Cluster) -> None:
    cluster.start_redis()
    first = await cluster.start_model("first", latency=0.05, endpoint={"max_concurrency": 8})
    second = await cluster.start_model("second", latency=0.05, endpoint={"max_concurrency": 8})
    later = cluster.settings["endpoints"].pop()
    cluster.write_config()
    await cluster.start_worker()
    await cluster.start_worker()
    _, url = await cluster.start_api()
    endpoints = f"{url}/api/v1/endpoints"
    ids = [f"line-{number}" for number in range(3_000)]
    chatting = asyncio.create_task(_chat(url))
    async with cluster.node() as node:
        job = await submit(node, ids)
        await until(lambda: count(first) > 100, what="the first endpoint to work")
        assert (await asyncio.to_thread(HTTP.post, endpoints, json=later)).status_code == 201
        await until(lambda: count(second) > 100, 30, "the added endpoint to be used")
        changed = await asyncio.to_thread(HTTP.patch, f"{endpoints}/second", json={"max_concurrency": 16})
        assert changed.json()["max_concurrency"] == 16
        gone = await asyncio.to_thread(HTTP.delete, f"{endpoints}/first", params={"drain": True})
        assert gone.status_code == 204
        await until(lambda: "first" not in node.fleet.endpoints, 30, "the drained endpoint to be removed")
        at_the_end = count(first)
        await until(lambda: count(second) > 1_000, 60, "the other one to go on")
        assert count(first) == at_the_end, "a removed endpoint gets nothing"
        back = {**cluster.settings["endpoints"][0], "name": "back"}
        assert (await asyncio.to_thread(HTTP.post, endpoints, json=back)).status_code == 201
        job = await ended(node, job, 90)
        _, errors = await check_each_once(node, job, ids)
        assert not errors
        assert set(job.shares) == {"first", "second", "back"}
    chatting.cancel()
    answered, failed = await chatting
    assert answered > 10
    assert not failed


@pytest.mark.parametrize("watch", [False, True])
async def test_a_changed_configuration_is_read_again(cluster: Cluster, watch: bool) -> None:
    cluster.start_redis()
    first = await cluster.start_model("first", latency=0.05, endpoint={"max_concurrency": 4})
    second = await cluster.start_model("second", latency=0.05, endpoint={"max_concurrency": 4})
    later = cluster.settings["endpoints"].pop()
    cluster.write_config()
    worker = await cluster.start_worker(*(["--watch"] if watch else []))

    def changed(text: str) -> None:
        cluster.config.write_text(text)
        if not watch:
            worker.handle.send_signal(signal.SIGHUP)  # type: ignore[union-attr]

    ids = [f"line-{number}" for number in range(1_000)]
    async with cluster.node() as node:
        job = await submit(node, ids)
        await until(lambda: count(first) > 50, what="the first endpoint to work")
        changed("endpoints: [{url: nowhere}]")
        await until(lambda: b"changes nothing" in worker.log.read_bytes(), 20, "a bad configuration to be refused")
        cluster.settings["endpoints"].append(later)
        cluster.write_config()
        changed(cluster.config.read_text())
        await until(lambda: count(second) > 50, 30, "the added endpoint to be used")
        job = await ended(node, job, 60)
        _, errors = await check_each_once(node, job, ids)
        assert not errors


def count(server: ModelServer) -> int:
    return server.seen().total()


async def _chat(url: str) -> tuple[int, list[str]]:
    """Chat until this is cancelled; return how many chats were answered, and what failed."""
    answered, failed = 0, []
    body = {"model": "simulated", "messages": [{"role": "user", "content": "hello"}]}
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        while True:
            try:
                answer = await http.post(f"{url}/v1/chat/completions", json=body)
            except asyncio.CancelledError:
                return answered, failed
            answered += answer.status_code == 200
            if answer.status_code != 200:
                failed.append(answer.text)
