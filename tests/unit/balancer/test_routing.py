"""Which endpoint gets the next interactive request, and how long to wait before another round."""

import random
from collections.abc import Collection, Sequence

import pytest

from balancer.endpoint import Endpoint
from balancer.health import Circuit, Health
from balancer.routing import Option, RetryPlan, choose, least_bad, pause_before, reserving
from balancer.strategy import BalancingStrategy

WELL = Health()
OPEN = Health(circuit=Circuit.OPEN, open_for=5.0)
HALF_OPEN = Health(circuit=Circuit.HALF_OPEN)
LIMITED = Health(limited_for=3.0)


def option(name: str, health: Health = WELL, load: int = 0, priority: int = 0, weight: float = 1.0) -> Option:
    return Option(Endpoint(f"http://{name}:8000/v1", name=name, priority=priority, weight=weight), health, load)


def chosen(
    options: Sequence[Option],
    tried: Collection[str] = (),
    strategy: BalancingStrategy = BalancingStrategy.ROUND_ROBIN,
) -> str | None:
    found = choose(strategy, options, {(name, None) for name in tried}, {}, random.Random(0))
    return found.name if found else None


@pytest.mark.parametrize(
    ("options", "tried", "expected"),
    [
        # the first in its turn
        ([option("a"), option("b")], (), "a"),
        # what has been tried waits for the next round
        ([option("a"), option("b")], {"a"}, "b"),
        # all have been tried
        ([option("a"), option("b")], {"a", "b"}, None),
        # nobody is there
        ([], (), None),
        # an open circuit is passed over
        ([option("a", OPEN), option("b")], (), "b"),
        # so is who has asked to be left alone
        ([option("a", LIMITED), option("b")], (), "b"),
        # a half-open circuit may be tried
        ([option("a", HALF_OPEN), option("b", OPEN)], (), "a"),
        # but by one request at a time
        ([option("a", HALF_OPEN, load=1), option("b")], (), "b"),
        # lower tiers first
        ([option("a", priority=1), option("b")], (), "b"),
        # higher tiers when the lower ones can't be used
        ([option("a", priority=1), option("b", OPEN)], (), "a"),
        # or have been tried
        ([option("a", priority=1), option("b")], {"b"}, "a"),
        # all circuits are open: the one that closes soonest
        ([option("a", OPEN), option("b", Health(circuit=Circuit.OPEN, open_for=1.0))], (), "b"),
        # one that is being tried out is less bad than an open one
        ([option("a", OPEN), option("b", HALF_OPEN, load=3)], (), "b"),
        # whoever is well but limited is waited for
        ([option("a", LIMITED), option("b", OPEN)], (), None),
        # though not if only a bad one has not been tried
        ([option("a", LIMITED), option("b", OPEN)], {"a"}, "b"),
        # an open circuit that is limited too is no reason to wait
        ([option("a", Health(circuit=Circuit.OPEN, open_for=1.0, limited_for=9.0))], (), "a"),
    ],
)
def test_who_is_chosen(options: list[Option], tried: Collection[str], expected: str | None) -> None:
    assert chosen(options, tried) == expected


@pytest.mark.parametrize("strategy", BalancingStrategy)
def test_every_strategy_leaves_unusable_endpoints_alone(strategy: BalancingStrategy) -> None:
    options = [option("a", OPEN), option("b"), option("c", LIMITED)]
    assert chosen(options, strategy=strategy) == "b"


def test_least_connections_counts_what_is_in_flight_from_everywhere() -> None:
    assert chosen([option("a", load=2), option("b", load=1)], strategy=BalancingStrategy.LEAST_CONNECTIONS) == "b"


def test_an_emergency_takes_no_turn() -> None:
    turns = {"a": 0.5, "b": -0.5}
    assert least_bad([option("a", OPEN)], turns).turns == turns


@pytest.mark.parametrize(
    ("rounds", "limits", "patience", "least", "most"),
    [
        # the first backoff: half of it is random
        (0, (0.0,), 60.0, 0.05, 0.1),
        # it doubles
        (2, (0.0,), 60.0, 0.2, 0.4),
        # up to a limit
        (20, (0.0,), 60.0, 0.5, 1.0),
        # one endpoint may be asked at once
        (0, (5.0, 0.0), 60.0, 0.05, 0.1),
        # all ask for patience: the one that asks for least is waited for
        (0, (5.0, 3.0), 60.0, 3.0, 3.0),
        # nobody is left: a plain backoff
        (0, (), 60.0, 0.05, 0.1),
    ],
)
def test_how_long_is_waited(rounds: int, limits: tuple[float, ...], patience: float, least: float, most: float) -> None:
    options = [option(str(index), Health(limited_for=limit)) for index, limit in enumerate(limits)]
    plan = RetryPlan(attempts=3, first=0.1, longest=1.0)
    pauses = [pause_before(plan, rounds, options, patience, random.Random(seed)) for seed in range(50)]
    assert all(pause is not None and least <= pause <= most for pause in pauses)


def test_it_is_not_waited_longer_than_there_is_time() -> None:
    assert pause_before(RetryPlan(3), 0, [option("a", LIMITED)], 2.9, random.Random(0)) is None


def test_whoever_is_broken_does_not_cut_the_wait_for_the_others_short() -> None:
    assert pause_before(RetryPlan(3), 0, [option("a", LIMITED), option("b", OPEN)], 60.0, random.Random(0)) == 3.0


def of_chain(*positions: int) -> list[Option]:
    return [Option(Endpoint(f"http://e{n}", name=f"e{n}"), WELL, 0, f"m{place}", place) for n, place in enumerate(positions)]


@pytest.mark.parametrize(
    ("positions", "tried", "attempts", "expected"),
    [
        ((0, 0, 0, 0, 1), set(), 3, {0, 1}),  # nothing has been tried
        ((0, 0, 0, 0, 1), {0}, 2, {0, 1}),  # one attempt more than models that are left
        ((0, 0, 0, 0, 1), {0, 1}, 1, {1}),  # the last attempt is the next model's
        ((0, 0, 1, 1, 2), {0}, 2, {1, 2}),  # two models are left for two attempts
        ((0, 0, 1, 1, 2), {0, 2}, 1, {2}),  # fewer attempts than needed: those that are left all the same
        ((0, 0), {0}, 1, {0}),  # no other model
        ((0, 1), {0, 1}, 1, {0, 1}),  # all models have been asked
    ],
)
def test_an_attempt_is_kept_for_each_model_that_was_not_asked(
    positions: tuple[int, ...], tried: set[int], attempts: int, expected: set[int]
) -> None:
    options = of_chain(*positions)
    found = reserving(options, {options[index].key for index in tried}, attempts)
    assert {option.position for option in found} == expected
