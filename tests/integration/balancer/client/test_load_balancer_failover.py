"""Strategies, failover and waits of the load balancers."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from balancer_calls import HELLO, Make, chats, dead, requests

from balancer import Endpoint
from tests.waiting import until_blocking


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
        until_blocking(lambda: slow.simulation.in_flight.now == 1)
        assert chats(lb, 5) == ["s1"] * 5
        servers.change(slow, fault="none")
        assert waiting.result() == ["s0"]


def test_random_uses_them_all(servers: Any, balance: Make) -> None:
    lb = balance(servers.start(), servers.start(), strategy="random")
    assert set(chats(lb, 40)) == {"s0", "s1"}  # both are missed once in 5e11 runs


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
    assert set(tried[:2]) == set(tried[2:]) == {"s0", "dead"}  # none twice before each once
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


def test_who_asks_for_patience_is_left_alone_for_so_long(servers: Any, balance: Make) -> None:
    limited, free = servers.start(fault="429", retry_after=0.5), servers.start()
    lb = balance(limited, free)
    started = time.monotonic()
    assert chats(lb, 1) == ["s1"]
    until_blocking(lambda: lb.get_stats()["endpoints"][0]["healthy"] is False)
    assert set(chats(lb, 4)) == {"s1"}
    assert requests(limited) == 1
    servers.change(limited, fault="none")
    until_blocking(lambda: "s0" in chats(lb, 2))
    assert time.monotonic() - started >= 0.45


def test_who_is_alone_and_asks_for_patience_is_waited_for(servers: Any, balance: Make) -> None:
    limited = servers.start(fault="429", retry_after=0.4)
    lb = balance(limited, retry_count=0)
    assert not lb.chat(HELLO, model="m")["success"]
    until_blocking(lambda: lb.get_stats()["endpoints"][0]["healthy"] is False)
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
