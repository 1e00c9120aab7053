"""Addresses of hosts are looked up once for many connections, and none takes them all."""

import asyncio
import socket

import pytest

from balancer.http import addresses
from balancer.http.addresses import Addresses

HOSTS = {"gpu": ["10.0.0.1", "10.0.0.2", "10.0.0.3"], "both": ["::1", "::2", "10.0.0.1"]}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were looked up."""
    names: list[str] = []

    async def look_up(host: str) -> list[str]:
        names.append(host)
        await asyncio.sleep(0)
        if host not in HOSTS:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return HOSTS[host]

    monkeypatch.setattr(addresses, "_look_up", look_up)
    return names


async def test_many_connections_at_once_look_a_name_up_once_and_share_its_addresses(asked: list[str]) -> None:
    found = Addresses()
    ordered = await asyncio.gather(*(found.of("gpu") for _ in range(300)))
    assert asked == ["gpu"]
    first = [one[0] for one in ordered]
    assert {address: first.count(address) for address in HOSTS["gpu"]} == dict.fromkeys(HOSTS["gpu"], 100)
    assert all(sorted(one) == HOSTS["gpu"] for one in ordered)


async def test_another_kind_of_address_comes_last(asked: list[str]) -> None:
    found = Addresses()
    assert [(await found.of("both"))[-1] for _ in range(4)] == ["10.0.0.1"] * 4


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "fe80::1%eth0"])
async def test_an_address_is_not_looked_up(asked: list[str], address: str) -> None:
    assert await Addresses().of(address) == (address,)
    assert asked == []


async def test_a_name_that_was_not_found_is_looked_up_again(asked: list[str]) -> None:
    found = Addresses()
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await found.of("nowhere")
    assert asked == ["nowhere", "nowhere"]


async def test_what_was_found_is_looked_up_again_after_a_while(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "KEPT", -1.0)
    found = Addresses()
    await found.of("gpu")
    await found.of("gpu")
    assert asked == ["gpu", "gpu"]


async def test_one_that_waits_no_longer_leaves_the_others_their_answer(asked: list[str]) -> None:
    found = Addresses()
    impatient, patient = asyncio.create_task(found.of("gpu")), asyncio.create_task(found.of("gpu"))
    await asyncio.sleep(0)
    impatient.cancel()
    assert sorted(await patient) == HOSTS["gpu"]
    assert asked == ["gpu"]


def test_another_loop_looks_up_for_itself(asked: list[str]) -> None:
    found = Addresses()
    for _ in range(2):
        asyncio.run(_once(found))
    assert asked == ["gpu", "gpu"]


async def _once(found: Addresses) -> None:
    await found.of("gpu")
