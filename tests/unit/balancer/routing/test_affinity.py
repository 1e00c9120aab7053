"""Which endpoint keeps a prefix: always the same one, in proportion to the weights, and never more than its fill."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.routing import BalancingStrategy, Candidate
from balancer.routing.affinity import FREE_SHARE, LOAD_FACTOR, keeper
from balancer.routing.strategy import shares

PREFIXES = random.Random(0).sample(range(1 << 32), 10_000)


def fleet(*weights: float, capacity: int = 64) -> list[Candidate]:
    return [Candidate(f"gpu{number}", weight, 0, capacity) for number, weight in enumerate(weights)]


def kept(candidates: list[Candidate], prefixes: list[int] = PREFIXES) -> list[str | None]:
    return [keeper(prefix, candidates, [c.weight for c in candidates]) for prefix in prefixes]


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (3, 1), (0.1, 0.2, 0.7), (5,)])
def test_prefixes_are_shared_out_by_weight(weights: tuple[float, ...]) -> None:
    counts = Counter(kept(fleet(*weights)))
    for number, weight in enumerate(weights):
        assert counts[f"gpu{number}"] / len(PREFIXES) == pytest.approx(weight / sum(weights), abs=0.02)


def test_neighbouring_hashes_are_spread_as_well() -> None:
    counts = Counter(kept(fleet(1, 1, 1, 1), list(range(10_000))))
    assert all(count / 10_000 == pytest.approx(0.25, abs=0.02) for count in counts.values())


def test_an_endpoint_that_goes_moves_no_prefix_but_its_own() -> None:
    before, after = kept(fleet(1, 1, 1, 1)), kept(fleet(1, 1, 1))
    assert {was for was, now in zip(before, after, strict=True) if was != now} == {"gpu3"}


def test_the_order_of_the_endpoints_does_not_matter() -> None:
    candidates = fleet(1, 2, 3)
    assert kept(candidates) == kept(candidates[::-1])


@pytest.mark.parametrize("requests", [10, 50, 150])
def test_a_prefix_that_all_requests_have_in_common_is_spread(requests: int) -> None:
    candidates = fleet(1, 1, 1, 1)
    for _ in range(requests):
        name = keeper(PREFIXES[0], candidates, [1.0] * 4)
        candidates = [replace(c, in_flight=c.in_flight + (c.name == name)) for c in candidates]
    most = max(FREE_SHARE * 64, LOAD_FACTOR * requests / 4)
    assert sum(c.in_flight for c in candidates) == requests
    assert max(c.in_flight for c in candidates) <= most
    assert (min(c.in_flight for c in candidates) == 0) == (requests == 10)


def test_an_idle_endpoint_of_one_slot_takes_a_request() -> None:
    assert keeper(1, fleet(1, 1, capacity=1), [1.0, 1.0]) in ("gpu0", "gpu1")


def test_where_all_have_their_fill_none_is_the_keeper() -> None:
    assert keeper(1, [replace(c, in_flight=64) for c in fleet(1, 1)], [1.0, 1.0]) is None


@given(prefix=st.integers(0, 2**32 - 1), loads=st.lists(st.integers(0, 80), min_size=1, max_size=6))
def test_whatever_the_loads_no_endpoint_gets_more_than_it_has_slots(prefix: int, loads: list[int]) -> None:
    candidates = [replace(c, in_flight=load) for c, load in zip(fleet(*[1.0] * len(loads)), loads, strict=True)]
    name = keeper(prefix, candidates, [1.0] * len(loads))
    assert name is None or next(c for c in candidates if c.name == name).in_flight < 64


def test_strategies_that_say_where_each_request_goes_have_no_shares() -> None:
    candidates = [Candidate("a", 3.0, 0, 8), Candidate("b", 1.0, 0, 64)]
    found = {strategy: shares(strategy, candidates) for strategy in BalancingStrategy}
    assert found[BalancingStrategy.WEIGHTED] == [3.0, 1.0]
    assert found[BalancingStrategy.LEAST_CONNECTIONS] == [8.0, 64.0]
    assert found[BalancingStrategy.ROUND_ROBIN] == found[BalancingStrategy.RANDOM] == []
