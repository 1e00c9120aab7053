"""Attacks on a real API process: refused, with memory flat, while others are answered at once."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import psutil
import pytest
import redis as sync_redis

from jobs.access.store import KeyOrder, KeyStore
from tests.acceptance.cluster import HTTP, Cluster, Process

MB = 1024 * 1024


@dataclass
class Target:
    """An API under attack, watched all the while."""

    process: Process
    url: str
    before: int
    slowest: float = 0.0
    largest: int = 0

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def watch(self) -> None:
        while True:
            began = time.monotonic()
            answer = await asyncio.to_thread(HTTP.get, f"{self.url}/health", timeout=5)
            assert answer.status_code == 200
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.largest = max(self.largest, psutil.Process(self.process.pid).memory_info().rss)
            await asyncio.sleep(0.02)

    async def withstands(self, attack: Callable[[], Awaitable[bytes]]) -> bytes:
        """Carry an attack out and return what the last connection was answered.

        It is repeated, twice at most, if `/health` took long: what holds the server up does so each time, and a busy machine
        does not.
        """
        for _ in range(3):
            self.slowest = 0.0
            answer = await attack()
            assert self.largest - self.before < 50 * MB, f"grew by {(self.largest - self.before) // MB} MB"
            if self.slowest < 0.2:
                return answer
        raise AssertionError(f"/health took {self.slowest:.3f} s")


@pytest.fixture
async def target(cluster: Cluster) -> AsyncIterator[Target]:
    await cluster.start_model("m")
    cluster.write_config()
    process, url = await cluster.start_api()
    HTTP.get(f"{url}/v1/models")
    found = Target(process, url, psutil.Process(process.pid).memory_info().rss)
    watch = asyncio.create_task(found.watch())
    yield found
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch


async def attack(port: int, head: bytes, piece: bytes, times: int) -> bytes:
    """Send a head and pieces until the server has had enough, and return what it says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with suppress(ConnectionError):
        writer.write(head)
        for _ in range(times):
            writer.write(piece)
            await writer.drain()
    try:
        return await asyncio.wait_for(reader.read(4096), 20)
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


HOST = b"Host: 127.0.0.1\r\n"


@pytest.mark.exclusive
@pytest.mark.parametrize(
    ("head", "piece", "times"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST, b"X-A: " + b"a" * 8000 + b"\r\n", 12_000),  # 100 MB of headers
        (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: ", b"a" * 65536, 1000),  # one header of 60 MB
        (b"GET /", b"a" * 65536, 1000),  # a URL of 60 MB
    ],
    ids=["headers", "header", "url"],
)
async def test_a_head_without_end_is_refused(target: Target, head: bytes, piece: bytes, times: int) -> None:
    answer = await target.withstands(lambda: attack(target.port, head, piece, times))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431")


def half_open(port: int, count: int) -> bytes:
    """Open connections, begin a head on each, and return what the last one is answered. (In a thread, beside the watch.)"""
    with ExitStack() as opened:
        for _ in range(count):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127")
        connection.settimeout(15)
        return connection.recv(100)


@pytest.mark.exclusive
async def test_connections_that_stay_half_open_are_closed(target: Target) -> None:
    answer = await target.withstands(lambda: asyncio.to_thread(half_open, target.port, 2000))
    assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.exclusive
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/jobs", "/api/v1/chat", "/v1/responses", "/v1/batches"])
async def test_brackets_that_would_fill_memory_are_refused(target: Target, path: str) -> None:
    body = b'{"messages":[' + b"[]," * (3 * MB) + b"[]]}"
    head = b"POST %b HTTP/1.1\r\n%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (
        path.encode(),
        HOST,
        len(body),
    )
    answer = await target.withstands(lambda: attack(target.port, head, body, 1))
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
