"""Streams and cancelled calls of the load balancers."""

import asyncio
from typing import Any

import pytest
from balancer_calls import HELLO, PATIENCE, Make, chats, dead, requests

from balancer import AsyncLoadBalancer, ChatFailed, Endpoint
from tests.waiting import until_blocking


def test_a_stream_gives_chunks(servers: Any, balance: Make) -> None:
    lb = balance(servers.start())
    chunks = list(lb.chat(HELLO, model="m", stream=True, stream_options={"include_usage": True}))
    whole = lb.chat(HELLO, model="m")
    assert "".join(chunk.content for chunk in chunks) == whole.content
    assert chunks[-1].usage == whole.usage
    assert {chunk["endpoint"] for chunk in chunks} == {"s0"}
    assert lb.get_stats()["total_success"] == 2


@pytest.mark.parametrize("fault", ["500", "close", "429"])
def test_a_stream_falls_back_before_its_first_chunk(servers: Any, balance: Make, fault: str) -> None:
    lb = balance(servers.start(fault=fault), dead(), servers.start())
    assert {chunk.endpoint for chunk in lb.chat(HELLO, model="m", stream=True)} == {"s2"}


@pytest.mark.parametrize("fault", ["broken_json", "reset_mid_body"])
def test_a_stream_does_not_fall_back_after_it(servers: Any, balance: Make, fault: str) -> None:
    other = servers.start()
    lb = balance(servers.start(fault=fault), other)
    chunks = lb.chat(HELLO, model="m", stream=True)
    assert next(chunks).endpoint == "s0"
    with pytest.raises(ChatFailed) as caught:
        list(chunks)
    assert [each.endpoint for each in caught.value.attempts] == ["s0"]
    assert requests(other) == 0
    assert lb.get_stats()["endpoints"][0]["in_flight"] == 0


def test_a_stream_that_finds_no_endpoint_says_where_it_failed(servers: Any, balance: Make) -> None:
    with pytest.raises(ChatFailed) as caught:
        list(balance(servers.start(fault="500"), dead()).chat(HELLO, model="m", stream=True))
    assert {each.endpoint for each in caught.value.attempts} == {"s0", "dead"}


def test_a_stream_that_is_left_frees_its_slot_and_ends_upstream(servers: Any, balance: Make) -> None:
    server = servers.start(latency_per_token=0.2)
    lb = balance(Endpoint(server.url, name="s0", max_concurrency=1))
    chunks = lb.chat(HELLO, model="m", stream=True)
    next(chunks)
    assert lb.get_stats()["endpoints"][0]["in_flight"] == 1
    chunks.close()  # type: ignore[attr-defined]
    assert lb.get_stats()["endpoints"][0]["in_flight"] == 0
    until_blocking(lambda: server.simulation.tally.aborted == 1)
    servers.change(server, latency_per_token=0.0)
    assert chats(lb, 1) == ["s0"]


def test_a_stream_that_was_never_read_takes_no_slot(servers: Any, balance: Make) -> None:
    server = servers.start()
    lb = balance(server)
    lb.chat(HELLO, model="m", stream=True)
    assert requests(server) == 0


async def test_an_asynchronous_stream_that_is_left_ends_upstream(servers: Any, shared: str | None) -> None:
    server = servers.start(latency_per_token=0.2)
    async with AsyncLoadBalancer([Endpoint(server.url)], redis_url=shared, enable_health_check=False) as lb:
        chunks = await lb.chat(HELLO, model="m", stream=True)
        async for _ in chunks:
            break
        await chunks.aclose()  # type: ignore[attr-defined]
        assert lb.get_stats()["endpoints"][0]["in_flight"] == 0
        async with asyncio.timeout(PATIENCE):
            while server.simulation.tally.aborted != 1:
                await asyncio.sleep(0.005)


async def test_an_asynchronous_call_that_is_cancelled_frees_its_slot(servers: Any, shared: str | None) -> None:
    server = servers.start(fault="hang")
    async with AsyncLoadBalancer([Endpoint(server.url)], redis_url=shared, enable_health_check=False) as lb:
        call = asyncio.create_task(lb.chat(HELLO, model="m"))
        async with asyncio.timeout(PATIENCE):
            while not server.simulation.in_flight.now:
                await asyncio.sleep(0.005)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert lb.get_stats()["endpoints"][0]["in_flight"] == 0
