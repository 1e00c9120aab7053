"""Picking: shares follow the weights, and requests to one endpoint are spread."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.routing import BalancingStrategy, Candidate, pick

WEIGHTED, ROUND_ROBIN = BalancingStrategy.WEIGHTED, BalancingStrategy.ROUND_ROBIN


def candidates(**weights: float) -> list[Candidate]:
    return [Candidate(name, weight, 0, 32) for name, weight in weights.items()]


def picks(strategy: BalancingStrategy, among: list[Candidate], times: int, cost: float = 1.0) -> list[str]:
    turns: dict[str, float] = {}
    chosen = []
    for _ in range(times):
        picked = pick(strategy, among, turns, cost)
        turns = picked.turns
        chosen.append(picked.name)
    return chosen


def test_weights_are_interleaved_as_nginx_does() -> None:
    # ngx_http_upstream_round_robin.c, its comment: for {5, 1, 1} the sequence is {a, a, b, a, c, a, a}.
    assert "".join(picks(WEIGHTED, candidates(a=5, b=1, c=1), 14)) == "aabacaa" * 2


@pytest.mark.parametrize("strategy", [ROUND_ROBIN, WEIGHTED])
def test_equals_take_turns(strategy: BalancingStrategy) -> None:
    assert "".join(picks(strategy, candidates(a=1, b=1, c=1), 9)) == "abc" * 3


def test_round_robin_ignores_weights() -> None:
    assert Counter(picks(ROUND_ROBIN, candidates(a=9, b=1), 10)) == {"a": 5, "b": 5}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(weights=st.lists(st.floats(0.01, 1000), min_size=1, max_size=12), times=st.integers(1, 200), cost=st.floats(0.5, 500))
def test_shares_follow_the_weights(weights: list[float], times: int, cost: float) -> None:
    among = [Candidate(str(i), weight, 0, 1) for i, weight in enumerate(weights)]
    turns: dict[str, float] = {}
    taken: Counter[str] = Counter()
    for done in range(1, times + 1):
        picked = pick(WEIGHTED, among, turns, cost)
        turns = picked.turns
        taken[picked.name] += 1
        for c in among:
            due = done * c.weight / sum(weights)
            assert -1 - 1e-6 < due - taken[c.name] < len(weights)
        assert abs(sum(turns.values())) < 1e-6 * cost * times
    for c in among:
        due = times * c.weight / sum(weights)
        assert abs(taken[c.name] - due) <= 1 + 1e-6


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        ({"a": (3, 32), "b": (2, 32)}, "b"),
        ({"a": (3, 32), "b": (1, 2)}, "a"),  # for its size
        ({"a": (0, 1), "b": (0, 100)}, "a"),  # equals take turns, in their order
        ({"a": (1, 1), "b": (100, 101)}, "b"),
    ],
)
def test_the_least_used_for_its_size_is_picked(load: dict[str, tuple[int, int]], expected: str) -> None:
    among = [Candidate(name, 1.0, in_flight, capacity) for name, (in_flight, capacity) in load.items()]
    assert pick(BalancingStrategy.LEAST_CONNECTIONS, among, {}).name == expected


def test_equally_used_ones_take_turns() -> None:
    chosen = picks(BalancingStrategy.LEAST_CONNECTIONS, candidates(a=1, b=1, c=1), 9)
    assert Counter(chosen) == {"a": 3, "b": 3, "c": 3}


def test_random_covers_all_and_can_be_repeated() -> None:
    among = candidates(a=1, b=100, c=1)
    draw = [pick(BalancingStrategy.RANDOM, among, {}, rng=random.Random(seed)).name for seed in range(300)]
    assert draw == [pick(BalancingStrategy.RANDOM, among, {}, rng=random.Random(seed)).name for seed in range(300)]
    counts = Counter(draw)
    assert all(70 <= counts[name] <= 130 for name in "abc")


@pytest.mark.parametrize("strategy", list(BalancingStrategy))
def test_one_alone_is_picked(strategy: BalancingStrategy) -> None:
    assert set(picks(strategy, candidates(a=0.1), 5)) == {"a"}


@pytest.mark.parametrize("strategy", list(BalancingStrategy))
def test_none_to_pick_from_is_an_error(strategy: BalancingStrategy) -> None:
    with pytest.raises(ValueError, match="no endpoint"):
        pick(strategy, [], {})


def test_picking_leaves_its_arguments_alone_and_keeps_the_turns_of_the_absent() -> None:
    turns = {"gone": 0.5, "a": 0.2}
    picked = pick(WEIGHTED, candidates(a=1, b=1), turns)
    assert turns == {"gone": 0.5, "a": 0.2}
    assert picked.turns["gone"] == 0.5
