"""The load balancer against real local servers, over both back ends."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api_roadbalancer.embedded import free_port
from api_roadbalancer.mock import MockServer
from balancer import AsyncLoadBalancer, BalancerClosed, ChatFailed, ConfigurationError, Endpoint, LoadBalancer
from balancer.state.health import HealthPolicy
from balancer.state.health import local as local_health
from balancer.state.health import shared as shared_health

HELLO = [{"role": "user", "content": "Hello!"}]
PATIENCE = 10.0

Make = Callable[..., LoadBalancer]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.005)


def chats(lb: LoadBalancer, count: int) -> list[str]:
    return [str(lb.chat(HELLO, model="m")["endpoint"]) for _ in range(count)]


def requests(server: MockServer) -> int:
    return server.simulation.tally.requests


def dead(name: str = "dead") -> Endpoint:
    return Endpoint(f"http://127.0.0.1:{free_port()}/v1", name=name)


@pytest.fixture
def quick_circuits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Circuits that open after two failures, for 0.2 s."""

    def policy() -> HealthPolicy:
        return HealthPolicy(failures_to_open=2, connection_weight=2, first_open=0.2, longest_open=0.2, refresh_every=0.02)

    monkeypatch.setattr(local_health, "HealthPolicy", policy)
    monkeypatch.setattr(shared_health, "HealthPolicy", policy)


# Strategies


def test_round_robin_goes_in_turn(servers: Any, balance: Make) -> None:
    lb = balance(servers.start(), servers.start(), servers.start())
    assert chats(lb, 7) == ["s0", "s1", "s2", "s0", "s1", "s2", "s0"]


def test_weights_are_kept_smoothly(servers: Any, balance: Make) -> None:
    weights = {"five": 5, "one": 1, "uno": 1}
    lb = balance(
        *[Endpoint(servers.start().url, name=name, weight=weight) for name, weight in weights.items()], strategy="weighted"
    )
    order = chats(lb, 14)
    assert order == ["five", "five", "one", "five", "uno", "five", "five"] * 2  # as nginx's does it


def test_weights_are_kept_by_many_threads(servers: Any, balance: Make) -> None:
    weights = {"five": 5, "one": 1, "uno": 1}
    endpoints = [
        Endpoint(servers.start(track_keys=False).url, name=name, weight=weight, max_concurrency=64)
        for name, weight in weights.items()
    ]
    lb = balance(*endpoints, strategy="weighted", timeout=30.0)

    def work(_: int) -> Counter[str]:
        return Counter(chats(lb, 7000 // 64 + 1))

    with ThreadPoolExecutor(64) as pool:
        counts = sum(pool.map(work, range(64)), Counter())
    total = counts.total()
    assert total >= 7000
    for name, weight in weights.items():
        assert counts[name] / total == pytest.approx(weight / 7, abs=0.03 * weight / 7)


def test_least_connections_avoids_who_is_busy(servers: Any, balance: Make) -> None:
    slow, quick = servers.start(fault="hang"), servers.start()
    lb = balance(slow, quick, strategy="least_connections")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(chats, lb, 1)
        until(lambda: slow.simulation.in_flight.now == 1)
        assert chats(lb, 5) == ["s1"] * 5
        servers.change(slow, fault="none")
        assert waiting.result() == ["s0"]


def test_random_uses_them_all(servers: Any, balance: Make) -> None:
    lb = balance(servers.start(), servers.start(), strategy="random")
    assert set(chats(lb, 40)) == {"s0", "s1"}  # both are missed once in 5e11 runs


# Fallback


@pytest.mark.parametrize("fault", ["500", "503", "429", "close", "broken_json", "truncated_json", "html", "reset_mid_body"])
def test_a_failure_moves_on_at_once(servers: Any, balance: Make, fault: str) -> None:
    lb = balance(servers.start(fault=fault), servers.start())
    started = time.monotonic()
    result = lb.chat(HELLO, model="m")
    assert time.monotonic() - started < 1.0
    assert (result.success, result.endpoint) == (True, "s1")
    assert [(each.endpoint, each.error is None) for each in result.attempts] == [("s0", False), ("s1", True)]


def test_a_dead_endpoint_costs_next_to_nothing(servers: Any, balance: Make) -> None:
    lb = balance(dead(), servers.start())
    started = time.monotonic()
    assert lb.chat(HELLO)["endpoint"] == "s1"  # the model was asked for as well
    assert time.monotonic() - started < 1.0


def test_health_checks_begin_before_the_first_chat(servers: Any, balance: Make) -> None:
    lb = balance(dead(), servers.start(), enable_health_check=True)
    until(lambda: lb.get_stats()["healthy_endpoints"] == 1)
    assert len(lb.chat(HELLO, model="m").attempts) == 1


async def test_health_checks_of_an_asynchronous_balancer_begin_when_it_is_made(shared: str | None) -> None:
    lb = AsyncLoadBalancer([dead()], redis_url=shared)
    async with asyncio.timeout(PATIENCE):
        while lb.get_stats()["healthy_endpoints"]:
            await asyncio.sleep(0.005)
    await lb.close()


def test_an_endpoint_that_never_answers_is_asked_a_few_times_only(servers: Any, balance: Make) -> None:
    hanging = servers.start(fault="hang")
    lb = balance(hanging, servers.start(), timeout=0.2)
    assert chats(lb, 20) == ["s1"] * 20
    assert requests(hanging) <= 4  # two that count, one that finds out, and one when its circuit's time is over


def test_a_hanging_endpoint_costs_the_timeout(servers: Any, balance: Make) -> None:
    lb = balance(servers.start(fault="hang"), servers.start(), timeout=0.3)
    result = lb.chat(HELLO, model="m")
    assert result["endpoint"] == "s1"
    assert "0.3 s" in str(result.attempts[0].error)
    assert 0.3 <= result.latency < 1.3


def test_a_final_refusal_is_not_retried(servers: Any, balance: Make) -> None:
    one, other = servers.start(fail_custom=["Hello!"]), servers.start()
    result = balance(one, other).chat(HELLO, model="m")
    assert not result.success
    assert "400" in str(result.error)
    assert (requests(one), requests(other)) == (1, 0)


def test_when_all_fail_the_result_says_where_and_why(servers: Any, balance: Make) -> None:
    lb = balance(servers.start(fault="500"), dead(), retry_count=3)
    result = lb.chat(HELLO, model="m")
    assert (result["success"], result["content"], result["endpoint"]) == (False, None, None)
    tried = [each.endpoint for each in result.attempts]
    assert set(tried[:2]) == set(tried[2:]) == {"s0", "dead"}  # nobody twice before everybody once
    assert all(each.error and each.time >= 0 for each in result.attempts)
    assert "all 4 attempts failed" in str(result.error)
    assert lb.get_stats()["total_failures"] == 4


def test_without_fallback_the_same_endpoint_is_tried_again(servers: Any, balance: Make) -> None:
    bad, good = servers.start(fault="500"), servers.start()
    result = balance(bad, good, fallback_on_failure=False, retry_count=1).chat(HELLO, model="m")
    assert [each.endpoint for each in result.attempts] == ["s0", "s0"]
    assert requests(good) == 0


def test_without_retries_there_is_one_attempt(servers: Any, balance: Make) -> None:
    assert len(balance(servers.start(fault="500"), servers.start(), retry_count=0).chat(HELLO, model="m").attempts) == 1


# Rate limits


def test_who_asks_for_patience_is_left_alone_for_so_long(servers: Any, balance: Make) -> None:
    limited, free = servers.start(fault="429", retry_after=0.5), servers.start()
    lb = balance(limited, free)
    started = time.monotonic()
    assert chats(lb, 1) == ["s1"]
    until(lambda: lb.get_stats()["endpoints"][0]["healthy"] is False)
    assert set(chats(lb, 4)) == {"s1"}
    assert requests(limited) == 1
    servers.change(limited, fault="none")
    until(lambda: "s0" in chats(lb, 2))
    assert time.monotonic() - started >= 0.45


def test_who_is_alone_and_asks_for_patience_is_waited_for(servers: Any, balance: Make) -> None:
    limited = servers.start(fault="429", retry_after=0.4)
    lb = balance(limited, retry_count=0)
    assert not lb.chat(HELLO, model="m")["success"]
    until(lambda: lb.get_stats()["endpoints"][0]["healthy"] is False)
    servers.change(limited, fault="none")
    result = lb.chat(HELLO, model="m")
    assert result.success
    assert result.latency > 0.1
    assert requests(limited) == 2


def test_a_retry_waits_as_long_as_it_was_asked_to(servers: Any, balance: Make) -> None:
    limited = servers.start(rate_limit=120.0)
    lb = balance(limited)
    results = [lb.chat(HELLO, model="m") for _ in range(4)]
    assert all(result.success for result in results)
    assert limited.simulation.tally.by_status[429] <= 4


def test_a_wait_that_is_too_long_is_not_begun(servers: Any, balance: Make) -> None:
    lb = balance(servers.start(fault="429", retry_after=3600), timeout=1.0)
    started = time.monotonic()
    assert len(lb.chat(HELLO, model="m").attempts) <= 2
    assert len(lb.chat(HELLO, model="m").attempts) == 1
    assert time.monotonic() - started < 1.0


# The circuit breaker and the checks


@pytest.mark.usefixtures("quick_circuits")
def test_an_open_circuit_is_skipped_and_tried_again_later(servers: Any, balance: Make) -> None:
    bad, good = servers.start(fault="500"), servers.start()
    lb = balance(bad, good)
    chats(lb, 4)
    until(lambda: lb.get_stats()["healthy_endpoints"] == 1)
    seen = requests(bad)
    until(lambda: lb.get_stats()["endpoints"][0]["circuit"] == "half_open")
    servers.change(bad, fault="none")
    until(lambda: "s0" in chats(lb, 1))
    assert requests(bad) == seen + 1  # the one that found out
    until(lambda: lb.get_stats()["endpoints"][0]["circuit"] == "closed")


@pytest.mark.usefixtures("quick_circuits")
def test_a_check_notices_death_and_return_without_a_request_of_a_user(servers: Any, balance: Make) -> None:
    one, other = servers.start(), servers.start()
    lb = balance(one, other, enable_health_check=True, health_check_interval=0.05)
    chats(lb, 2)
    servers.stop(one)
    until(lambda: lb.get_stats()["healthy_endpoints"] == 1)
    deadline = time.monotonic() + 0.6  # three times as long as the circuit is open
    while time.monotonic() < deadline:
        result = lb.chat(HELLO, model="m")
        assert len(result.attempts) == 1, "a request was spent on a dead endpoint"
    again = servers.start(port=one.port)
    until(lambda: lb.get_stats()["healthy_endpoints"] == 2)
    assert requests(again) == 0
    assert set(chats(lb, 2)) == {"s0", "s1"}


@pytest.mark.usefixtures("quick_circuits")
def test_when_all_are_unhealthy_the_least_bad_is_tried(servers: Any, balance: Make) -> None:
    server = servers.start(fault="500")
    lb = balance(server, retry_count=3)
    assert not lb.chat(HELLO, model="m").success
    until(lambda: lb.get_stats()["healthy_endpoints"] == 0 or lb.get_stats()["endpoints"][0]["circuit"] == "half_open")
    servers.change(server, fault="none")
    assert lb.chat(HELLO, model="m").success


# Streams


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


def test_a_stream_that_finds_nobody_says_where_it_failed(servers: Any, balance: Make) -> None:
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
    until(lambda: server.simulation.tally.aborted == 1)
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


# Coming and going


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
        until(lambda: server.simulation.in_flight.now == 1)
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
        until(lambda: server.simulation.in_flight.now == 1)
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
    until(lambda: server.simulation.in_flight.now == 1)
    lb.close()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert len(said) >= 2  # the one in flight may have been told that its connection was closed
