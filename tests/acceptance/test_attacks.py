"""Attacks on a real API process: refused, with memory flat, while others are answered at once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import psutil
import pytest
import redis as sync_redis

from jobs.access.store import KeyOrder, KeyStore
from tests.acceptance.cluster import HTTP, Cluster
from tests.attack.raw import HEADS, Watch, brackets, half_open, send_endless


@dataclass
class Target:
    """An API under attack, watched all the while."""

    watch: Watch
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@pytest.fixture
async def target(cluster: Cluster) -> AsyncIterator[Target]:
    await cluster.start_model("m")
    cluster.write_config()
    process, url = await cluster.start_api()
    HTTP.get(f"{url}/v1/models")
    api = psutil.Process(process.pid)
    watch = Watch(url, lambda: int(api.memory_info().rss))
    watch.start()
    yield Target(watch, url)
    await watch.stop()


@pytest.mark.exclusive
@pytest.mark.parametrize(("head", "piece", "times"), HEADS.values(), ids=HEADS)
async def test_a_head_without_end_is_refused(target: Target, head: bytes, piece: bytes, times: int) -> None:
    answer = await target.watch.withstands(lambda: send_endless(target.port, head, piece, times))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431")


@pytest.mark.exclusive
async def test_connections_that_stay_half_open_are_closed(target: Target) -> None:
    answer = await target.watch.withstands(lambda: asyncio.to_thread(half_open, target.port))
    assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.exclusive
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/jobs", "/api/v1/chat", "/v1/responses", "/v1/batches"])
async def test_brackets_that_would_fill_memory_are_refused(target: Target, path: str) -> None:
    head, body = brackets(path)
    answer = await target.watch.withstands(lambda: send_endless(target.port, head, body, 1))
    assert answer.startswith(b"HTTP/1.1 413"), answer[:200]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ],
)
async def test_a_server_without_keys_takes_no_requests_of_foreign_pages(target: Target, headers: dict[str, str]) -> None:
    for path in ("/v1/models", "/metrics", "/api/v1/system/info"):
        assert HTTP.get(target.url + path, headers=headers).status_code == 403
    body = {"messages": [{"role": "user", "content": "x"}]}
    assert HTTP.post(f"{target.url}/v1/chat/completions", json=body, headers=headers).status_code == 403
    assert HTTP.get(f"{target.url}/v1/models").status_code == 200


async def test_access_stays_shut_when_redis_loses_its_keys(cluster: Cluster) -> None:
    await cluster.start_model("m")
    cluster.write_config()
    async with cluster.node() as node:
        await KeyStore(node.redis).create(KeyOrder("someone"))
    process, url = await cluster.start_api()
    assert HTTP.get(f"{url}/v1/models").status_code == 401
    with sync_redis.Redis.from_url(cluster.settings["redis_url"]) as client:
        client.flushall()
    await asyncio.sleep(2.5)  # what the process remembers of Redis holds for two seconds
    assert HTTP.get(f"{url}/v1/models").status_code == 401
    assert HTTP.get(f"{url}/metrics").status_code == 401
    process.kill()
    _, url = await cluster.start_api()
    assert HTTP.get(f"{url}/v1/models").status_code == 401, "a new process has forgotten"
