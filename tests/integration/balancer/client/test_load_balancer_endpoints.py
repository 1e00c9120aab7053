"""Endpoints that come, go, fail and recover."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from balancer_calls import HELLO, PATIENCE, Make, chats, dead, requests

from balancer import AsyncLoadBalancer, BalancerClosed, ConfigurationError, Endpoint
from tests.waiting import until_blocking


def test_health_checks_begin_before_the_first_chat(servers: Any, balance: Make) -> None:
    lb = balance(dead(), servers.start(), enable_health_check=True)
    until_blocking(lambda: lb.get_stats()["healthy_endpoints"] == 1)
    assert len(lb.chat(HELLO, model="m").attempts) == 1


async def test_health_checks_of_an_asynchronous_balancer_begin_when_it_is_made(shared: str | None) -> None:
    lb = AsyncLoadBalancer([dead()], redis_url=shared)
    async with asyncio.timeout(PATIENCE):
        while lb.get_stats()["healthy_endpoints"]:
            await asyncio.sleep(0.005)
    await lb.close()


@pytest.mark.usefixtures("quick_circuits")
def test_an_open_circuit_is_skipped_and_tried_again_later(servers: Any, balance: Make) -> None:
    bad, good = servers.start(fault="500"), servers.start()
    lb = balance(bad, good)
    chats(lb, 4)
    until_blocking(lambda: lb.get_stats()["healthy_endpoints"] == 1)
    seen = requests(bad)
    until_blocking(lambda: lb.get_stats()["endpoints"][0]["circuit"] == "half_open")
    servers.change(bad, fault="none")
    until_blocking(lambda: "s0" in chats(lb, 1))
    assert requests(bad) == seen + 1  # the one that found out
    until_blocking(lambda: lb.get_stats()["endpoints"][0]["circuit"] == "closed")


@pytest.mark.usefixtures("quick_circuits")
def test_a_check_notices_death_and_return_without_a_request_of_a_user(servers: Any, balance: Make) -> None:
    one, other = servers.start(), servers.start()
    lb = balance(one, other, enable_health_check=True, health_check_interval=0.05)
    chats(lb, 2)
    servers.stop(one)
    until_blocking(lambda: lb.get_stats()["healthy_endpoints"] == 1)
    deadline = time.monotonic() + 0.6  # three times as long as the circuit is open
    while time.monotonic() < deadline:
        result = lb.chat(HELLO, model="m")
        assert len(result.attempts) == 1, "a request was spent on a dead endpoint"
    again = servers.start(port=one.port)
    until_blocking(lambda: lb.get_stats()["healthy_endpoints"] == 2)
    assert requests(again) == 0
    assert set(chats(lb, 2)) == {"s0", "s1"}


@pytest.mark.usefixtures("quick_circuits")
def test_when_all_are_unhealthy_the_least_bad_is_tried(servers: Any, balance: Make) -> None:
    server = servers.start(fault="500")
    lb = balance(server, retry_count=3)
    assert not lb.chat(HELLO, model="m").success
    until_blocking(lambda: lb.get_stats()["healthy_endpoints"] == 0 or lb.get_stats()["endpoints"][0]["circuit"] == "half_open")
    servers.change(server, fault="none")
    assert lb.chat(HELLO, model="m").success


def test_endpoints_come_and_go(servers: Any, balance: Make) -> None:
    lb = balance(servers.start())
    lb.add_endpoint(Endpoint(servers.start().url + "/", name="new"))
    assert set(chats(lb, 2)) == {"s0", "new"}
    with pytest.raises(ConfigurationError, match="'new' is the name of"):
        lb.add_endpoint(Endpoint("http://gpu9:8000/v1", name="new"))
    assert not lb.remove_endpoint("http://nowhere:1/v1")
    assert lb.remove_endpoint("s0")
    assert chats(lb, 2) == ["new", "new"]
    assert [each["name"] for each in lb.get_stats()["endpoints"]] == ["new"]


def test_an_endpoint_that_is_removed_and_added_again_counts_right(servers: Any, balance: Make) -> None:
    server = servers.start(fault="hang")
    lb = balance(server)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(chats, lb, 1)
        until_blocking(lambda: server.simulation.in_flight.now == 1)
        assert lb.remove_endpoint("s0")
        lb.add_endpoint(Endpoint(server.url, name="s0"))
        assert lb.get_stats()["endpoints"][0]["in_flight"] == 1
        servers.change(server, fault="none")
        assert waiting.result() == ["s0"]
    assert lb.get_stats()["endpoints"][0]["in_flight"] == 0


def test_a_drained_endpoint_gets_nothing_more(servers: Any, balance: Make) -> None:
    server = servers.start(fault="hang")
    lb = balance(server, servers.start())
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(chats, lb, 1)
        until_blocking(lambda: server.simulation.in_flight.now == 1)
        assert not lb.drain("s0", timeout=0.05)
        assert chats(lb, 3) == ["s1"] * 3
        draining = pool.submit(lb.drain, server.url)
        servers.change(server, fault="none")
        assert draining.result()
        assert waiting.result() == ["s0"]
    lb.undrain("s0")
    assert "s0" in chats(lb, 3)


def test_draining_what_is_not_there_is_refused(servers: Any, balance: Make) -> None:
    with pytest.raises(ConfigurationError, match="there is no such endpoint"):
        balance(servers.start()).drain("http://nowhere:1/v1")


def test_closing_ends_what_other_threads_wait_for(servers: Any, balance: Make) -> None:
    server = servers.start(fault="hang")
    lb = balance(Endpoint(server.url, max_concurrency=1))
    said: list[BaseException | None] = []

    def call() -> None:
        try:
            lb.chat(HELLO, model="m")
        except BalancerClosed as exc:
            said.append(exc)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    until_blocking(lambda: server.simulation.in_flight.now == 1)
    lb.close()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert len(said) >= 2  # the one in flight may have heard that its connection was closed
