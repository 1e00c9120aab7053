"""The endpoints behind a service of Kubernetes are listed, then watched, as long as its server lets them be."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest

from balancer.configuration.changes import EndpointChange
from balancer.configuration.values import Discovery
from balancer.state.redis_connection import AsyncRedis
from jobs.fleet import Discoverer, discoverer, kubernetes
from jobs.fleet.kubernetes import ServiceWatch
from jobs.fleet.sources import SourceFailed
from jobs.storage import keys
from tests.certificates import write_certificate
from tests.raw_server import serve_raw
from tests.waiting import until

VLLM = Discovery("kubernetes", "vllm")


def slice_of(name: str, *addresses: str, **conditions: bool) -> dict[str, Any]:
    endpoints = [{"addresses": [address], "conditions": conditions} for address in addresses]
    return {"metadata": {"name": name}, "ports": [{"port": 8000}], "endpoints": endpoints or None}


class ApiServer:
    """Answers with `slices`, and sends to those that watch what `send` is given. `status` and `watch_status` are what it answers
    lists and watches with."""

    def __init__(self) -> None:
        self.slices: list[dict[str, Any]] = []
        self.status = self.watch_status = 200
        self.lists: list[str] = []
        self.watches: list[dict[str, list[str]]] = []
        self.heads: list[str] = []
        self._watchers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        target = head.split()[1]
        asked = parse_qs(target.partition("?")[2])
        if "watch" in asked:
            self.watches.append(asked)
            if self.watch_status == 200:
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                self._watchers.append(writer)
                await reader.read()
            else:
                writer.write(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % self.watch_status)
        else:
            self.lists.append(target)
            body = orjson.dumps({"metadata": {"resourceVersion": str(len(self.lists))}, "items": self.slices})
            writer.write(b"HTTP/1.1 %d OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (self.status, len(body), body))
        await writer.drain()

    def send(self, kind: str, what: dict[str, Any]) -> None:
        """Send an event to who watches."""
        event = orjson.dumps({"type": kind, "object": what}) + b"\n"
        self._watchers[-1].write(b"%x\r\n%b\r\n" % (len(event), event))

    def end(self) -> None:
        """End the watch, as its time is over."""
        self._watchers[-1].write(b"0\r\n\r\n")


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    """An API server over TLS, and a pod's account there."""
    account = tmp_path / "serviceaccount"
    account.mkdir()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(write_certificate(account / "ca.crt"))
    (account / "token").write_text("the-token\n")
    (account / "namespace").write_text("default")
    monkeypatch.setattr(kubernetes, "SERVICE_ACCOUNT", account)
    made = ApiServer()
    async with serve_raw(made.serve, context) as url:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", url.rpartition(":")[2].partition("/")[0])
        yield made


@pytest.fixture
async def changes() -> list[int]:
    """Has an entry for each word of a change."""
    return []


@pytest.fixture
async def watch(server: ApiServer, changes: list[int]) -> AsyncIterator[ServiceWatch]:
    made = ServiceWatch(VLLM, lambda: changes.append(1))
    yield made
    await made.aclose()


async def test_ready_pods_behind_a_service_are_endpoints(server: ApiServer, watch: ServiceWatch) -> None:
    ready, starting, unknown = (
        slice_of("vllm-a", "10.1.0.1", ready=True),
        slice_of("vllm-b", "10.1.0.2", ready=False),
        slice_of("vllm-c", "10.1.0.3"),
    )
    server.slices = [ready, starting, unknown, slice_of("vllm-d")]
    found = await watch.endpoints()
    assert {name: entry["url"] for name, entry in found.items()} == {
        "vllm-10-1-0-1": "http://10.1.0.1:8000/v1",
        "vllm-10-1-0-3": "http://10.1.0.3:8000/v1",
    }
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dvllm"
    assert server.lists == [path]
    assert "authorization: bearer the-token\r\n" in server.heads[0].lower()


async def test_a_list_that_is_refused_is_a_failure_of_the_source(server: ApiServer) -> None:
    server.status = 403
    elsewhere = ServiceWatch(Discovery("kubernetes", "vllm", "gpu"), lambda: None)
    with pytest.raises(SourceFailed, match="403"):
        await elsewhere.endpoints()
    assert "/namespaces/gpu/" in server.lists[0]


async def test_what_changes_is_known_from_the_watch(server: ApiServer, watch: ServiceWatch, changes: list[int]) -> None:
    server.slices = [slice_of("vllm-a", "10.1.0.1")]
    await watch.endpoints()
    await until(lambda: server.watches)
    assert (server.watches[0]["resourceVersion"], server.watches[0]["timeoutSeconds"]) == (["1"], ["60"])
    server.send("MODIFIED", slice_of("vllm-a", "10.1.0.1", "10.1.0.2"))
    server.send("ADDED", slice_of("vllm-b", "10.1.0.3"))
    await until(lambda: len(changes) == 2)
    assert sorted(await watch.endpoints()) == ["vllm-10-1-0-1", "vllm-10-1-0-2", "vllm-10-1-0-3"]
    server.send("DELETED", slice_of("vllm-a", "10.1.0.1", "10.1.0.2"))
    await until(lambda: len(changes) == 3)
    assert list(await watch.endpoints()) == ["vllm-10-1-0-3"]
    assert len(server.lists) == 1


async def test_a_connection_whose_request_is_cancelled_before_it_is_encrypted_closes(
    server: ApiServer, watch: ServiceWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    greeted, closed = asyncio.Event(), asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            greeted.set()
        closed.set()

    async with serve_raw(say_nothing) as url:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", url.rpartition(":")[2].partition("/")[0])
        asking = asyncio.create_task(watch.endpoints())
        await asyncio.wait_for(greeted.wait(), 10.0)
        asking.cancel()
        await asyncio.wait_for(closed.wait(), 10.0)


@pytest.mark.parametrize("ending", ["time", "too old", "malformed"])
async def test_a_watch_that_has_ended_begins_with_a_list(server: ApiServer, watch: ServiceWatch, ending: str) -> None:
    await watch.endpoints()
    await until(lambda: server.watches)
    server.slices = [slice_of("vllm-a", "10.1.0.1")]
    if ending == "time":
        server.end()
    elif ending == "too old":
        server.send("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})
    else:
        server.send("ADDED", {"kind": "Nothing"})

    async def listed_again() -> bool:
        return list(await watch.endpoints()) == ["vllm-10-1-0-1"]

    await until(listed_again)
    await until(lambda: len(server.watches) == 2)
    assert server.watches[1]["resourceVersion"] == ["2"]


async def test_a_service_that_may_only_be_listed_is_listed_each_time(
    server: ApiServer, watch: ServiceWatch, caplog: pytest.LogCaptureFixture
) -> None:
    server.watch_status = 403

    async def listed(times: int) -> bool:
        await watch.endpoints()
        return len(server.lists) >= times

    with caplog.at_level(logging.WARNING):
        await until(lambda: listed(3))
    assert len(server.watches) == 1
    assert caplog.text.count("kubernetes:vllm can't be watched (403)") == 1


async def test_the_fleet_follows_a_watch_at_once(server: ApiServer, redis: AsyncRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks of a process that looks once an hour."""
    monkeypatch.setattr(discoverer, "LOOK_EVERY", 3600.0)
    server.slices = [slice_of("vllm-a", "10.1.0.1", "10.1.0.2")]
    one, two = Discoverer(redis, [VLLM], "one"), Discoverer(redis, [VLLM], "two")
    one.start()
    await one.look()
    await until(lambda: server.watches)
    server.send("MODIFIED", slice_of("vllm-a", "10.1.0.2"))

    async def leaving() -> bool:
        changes = {name: EndpointChange.from_json(raw) for name, raw in (await redis.hgetall(keys.FLEET)).items()}
        return {name: change.leaves for name, change in changes.items()} == {b"vllm-10-1-0-1": True, b"vllm-10-1-0-2": False}

    await until(leaving)
    await two.look()
    assert len(server.lists) == 1, "one process asks at a time"
    await one.aclose()
    await two.look()
    assert len(server.lists) == 2
    await two.aclose()
