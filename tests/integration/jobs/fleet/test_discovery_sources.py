"""Endpoints are found by DNS and in files, by a process at a time."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dns.asyncresolver
import dns.message
import dns.rcode
import dns.rrset
import pytest

from balancer.configuration.changes import EndpointChange
from balancer.configuration.values import Discovery
from balancer.state.redis_connection import AsyncRedis
from jobs.fleet import Discoverer
from jobs.fleet.sources import SourceFailed, endpoints_of
from jobs.storage import keys

GPUS = Discovery("dns", "gpus.test", port=8000, endpoint={"models": ["m"]})


async def fleet(redis: AsyncRedis) -> dict[str, EndpointChange]:
    return {name.decode(): EndpointChange.from_json(raw) for name, raw in (await redis.hgetall(keys.FLEET)).items()}


async def test_each_address_of_a_name_is_an_endpoint(redis: AsyncRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    known = ["10.0.0.1", "fd00::7"]

    async def look_up(host: str, port: int, **_: Any) -> list[Any]:
        if not known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    discoverer = Discoverer(redis, [GPUS], "one")
    await discoverer.look()
    found = await fleet(redis)
    assert {name: change.settings["url"] for name, change in found.items()} == {
        "gpus-test-10-0-0-1": "http://10.0.0.1:8000/v1",
        "gpus-test-fd00--7": "http://[fd00::7]:8000/v1",
    }
    assert all(change.settings["models"] == ["m"] for change in found.values())
    known.remove("10.0.0.1")
    await discoverer.look()
    found = await fleet(redis)
    assert {name: change.leaves for name, change in found.items()} == {"gpus-test-10-0-0-1": True, "gpus-test-fd00--7": False}
    known.clear()
    await discoverer.look()
    assert await fleet(redis) == found, "a resolver that fails takes nothing away"


async def test_one_process_asks_at_a_time(redis: AsyncRedis, tmp_path: Path) -> None:
    source = Discovery("file", str(tmp_path / "*.yaml"))
    (tmp_path / "a.yaml").write_text("url: http://10.0.0.1/v1\nname: a\n")
    first, second = Discoverer(redis, [source], "one"), Discoverer(redis, [source], "two")
    await first.look()
    (tmp_path / "b.yaml").write_text("[{url: http://10.0.0.2/v1, name: b}]\n")
    await second.look()
    assert list(await fleet(redis)) == ["a"]
    await first.aclose()
    await second.look()
    assert sorted(await fleet(redis)) == ["a", "b"]
    await second.aclose()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("url: [", "expected"),
        ("just text", "each endpoint is a mapping"),
        ("[{url: http://a/v1, name: a}, {url: http://b/v1, name: a}]", "two endpoints named 'a'"),
        ("{url: http://a/v1, weight: heavy}", "weight"),
        ("{url: http://a/v1, api_key: a-secret-in-the-open}", "must name a variable"),
    ],
)
async def test_a_file_that_can_not_be_used_changes_nothing_and_is_named(
    redis: AsyncRedis, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str, said: str
) -> None:
    (tmp_path / "a.yaml").write_text(content)
    discoverer = Discoverer(redis, [Discovery("file", str(tmp_path / "*.yaml"))], "one")
    with caplog.at_level(logging.WARNING):
        await discoverer.look()
        await discoverer.look()
    assert await fleet(redis) == {}
    assert caplog.text.count(said) == 1, "it is said once"
    assert "a-secret-in-the-open" not in caplog.text


class NameServer(asyncio.DatagramProtocol):
    """Answers questions for SRV records with `records`: priority, weight, port, target."""

    def __init__(self) -> None:
        self.records: list[tuple[int, int, int, str]] = []
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        answer = dns.message.make_response(dns.message.from_wire(data))
        question = answer.question[0]
        if not self.records:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            texts = [" ".join(map(str, record)) for record in self.records]
            answer.answer.append(dns.rrset.from_text(question.name, 5, "IN", "SRV", *texts))
        self._transport.sendto(answer.to_wire(), addr)


@pytest.fixture
async def name_server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NameServer]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(NameServer, ("127.0.0.1", 0))
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], transport.get_extra_info("sockname")[1]
    monkeypatch.setattr(dns.asyncresolver, "default_resolver", resolver)
    yield server
    transport.close()


async def test_each_server_of_a_service_is_an_endpoint(redis: AsyncRedis, name_server: NameServer) -> None:
    service = Discovery("dns", "_http._tcp.gpus.test", endpoint={"models": ["m"]})
    name_server.records = [(0, 3, 8000, "gpu1.test."), (0, 0, 8001, "gpu1.test."), (10, 1, 8000, "spare.test.")]
    discoverer = Discoverer(redis, [service], "one")
    await discoverer.look()
    found = {name: change.settings for name, change in (await fleet(redis)).items()}
    assert {name: (each["url"], each["weight"], each["priority"]) for name, each in found.items()} == {
        "gpu1-test-8000": ("http://gpu1.test:8000/v1", 3, 0),
        "gpu1-test-8001": ("http://gpu1.test:8001/v1", 1, 0),
        "spare-test-8000": ("http://spare.test:8000/v1", 1, 10),
    }
    name_server.records = name_server.records[:1]
    await discoverer.look()
    assert {name: change.leaves for name, change in (await fleet(redis)).items()} == {
        "gpu1-test-8000": False,
        "gpu1-test-8001": True,
        "spare-test-8000": True,
    }
    before = await fleet(redis)
    name_server.records = []
    await discoverer.look()
    assert await fleet(redis) == before, "a name that is gone takes nothing away"
    with pytest.raises(SourceFailed, match="does not exist"):
        await endpoints_of(service)


async def test_settings_of_the_configuration_go_before_those_of_the_records(name_server: NameServer) -> None:
    name_server.records = [(5, 9, 8000, "gpu1.test.")]
    found = await endpoints_of(Discovery("dns", "_http._tcp.gpus.test", port=9000, scheme="https", endpoint={"weight": 2}))
    assert found == {"gpu1-test-9000": {"priority": 5, "weight": 2, "url": "https://gpu1.test:9000/v1", "name": "gpu1-test-9000"}}
