"""Where a request goes next: chats and lines of jobs, by the same decisions under their own rules."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.endpoint import Endpoint
from balancer.outcome import Failure, FailureKind
from balancer.routing import Attempts, BalancingStrategy, FailoverRules, GiveUp, Go, Option, Target, Wait, backoff, decide
from balancer.state.health import Circuit, Health

WELL = Health()
OPEN = Health(circuit=Circuit.OPEN, open_for=20.0)
SOON = Health(circuit=Circuit.OPEN, open_for=1.0)
HALF_OPEN = Health(circuit=Circuit.HALF_OPEN)
LIMITED = Health(limited_for=3.0)

CHAT = FailoverRules(BalancingStrategy.ROUND_ROBIN, attempts=3, patience=60.0)
ALONE = replace(CHAT, fallback=False)
LINE = FailoverRules(BalancingStrategy.LEAST_CONNECTIONS, attempts=3, patience=5.0, rounds=False, home="a", most_probes=2)

BUSY = Failure(FailureKind.SERVER, "HTTP 500", 500)
NO_MODEL = Failure(FailureKind.MODEL_NOT_FOUND, "HTTP 404", 404)
NO_ACCESS = Failure(FailureKind.AUTHENTICATION, "HTTP 403", 403)
BAD_KEY = Failure(FailureKind.AUTHENTICATION, "HTTP 401", 401)
REFUSED = Failure(FailureKind.BAD_REQUEST, "HTTP 400", 400)
TOO_LONG = Failure(FailureKind.CONTEXT_TOO_LONG, "HTTP 400", 400)
UNAVAILABLE = FailureKind.UNAVAILABLE

Tried = Sequence[tuple[str, Failure]]


def option(
    name: str, health: Health = WELL, load: float = 0, priority: int = 0, model: str | None = None, position: int = 0
) -> Option:
    endpoint = Endpoint(f"http://{name}:8000/v1", name=name, priority=priority, max_concurrency=4)
    return Option(endpoint, health, load, model, position, load)


def chain(*served: tuple[str, str]) -> list[Option]:
    """Options for the chain m0, m1, ...: (endpoint, model) each."""
    return [option(name, model=model, position=int(model[1:])) for name, model in served]


def after(tried: Tried, models: tuple[str | None, ...] = (None,)) -> Attempts:
    """Attempts of `name` or `name/model`, with what each failed by."""
    attempts = Attempts(models)
    for where, failure in tried:
        name, _, model = where.partition("/")
        attempts.failed(Target(name, model or models[0]), failure)
    return attempts


def decision(attempts: Attempts, options: Sequence[Option], rules: FailoverRules) -> str:
    """What is decided, in short: `a`, `a/m1`, `wait`, `later: <kind>`, `never: <kind>`."""
    match decide(attempts, options, rules, {}, random.Random(0)):
        case Go(target):
            return f"{target.endpoint}/{target.model}" if target.model else target.endpoint
        case Wait():
            return "wait"
        case GiveUp(failure, final):
            return f"{'never' if final else 'later'}: {failure.kind}"


@pytest.mark.parametrize(
    ("options", "chat", "line"),
    [
        # the first in its turn; a line goes to its shard's own endpoint
        ([option("b"), option("a")], "b", "a"),
        ([option("b"), option("a", load=3)], "b", "a"),
        # an open circuit is passed over
        ([option("a", OPEN), option("b")], "b", "b"),
        # so is one that has asked to be left alone
        ([option("a", LIMITED), option("b")], "b", "b"),
        # a half-open circuit may be tried
        ([option("a", HALF_OPEN), option("b", OPEN)], "a", "a"),
        # but by few requests at a time
        ([option("a", HALF_OPEN, load=1), option("b")], "b", "a"),
        ([option("a", HALF_OPEN, load=2), option("b")], "b", "b"),
        # lower tiers first, and higher ones when the lower can't be used
        ([option("c", priority=1), option("b")], "b", "b"),
        ([option("c", priority=1), option("b", OPEN)], "c", "c"),
        # an earlier model first, and a later one when nothing serves the earlier
        (chain(("b", "m0"), ("a", "m1")), "b/m0", "b/m0"),
        ([option("b", OPEN, model="m0"), option("a", model="m1", position=1)], "a/m1", "a/m1"),
        # all circuits are open: a chat tries the one that closes soonest, a line waits, or is put off
        ([option("a", OPEN), option("b", SOON)], "b", "wait"),
        ([option("a", OPEN), option("b", OPEN)], "a", "later: no_endpoint_available"),
        # one that is being tried out is less bad than an open one
        ([option("a", OPEN), option("b", HALF_OPEN, load=3)], "b", "wait"),
        # one that is well but wants to be left alone is waited for
        ([option("a", LIMITED), option("b", OPEN)], "wait", "wait"),
        # an open circuit that is limited too is no reason to wait
        ([option("a", replace(SOON, limited_for=9.0))], "a", "later: no_endpoint_available"),
        # no endpoint serves it
        ([], "later: no_endpoint_available", "later: no_endpoint_available"),
    ],
)
def test_where_a_request_goes_first(options: list[Option], chat: str, line: str) -> None:
    models = tuple(dict.fromkeys(option.model for option in options)) or (None,)
    assert (decision(Attempts(models), options, CHAT), decision(Attempts(models), options, LINE)) == (chat, line)


AB, ABC = [option("a"), option("b")], [option("a"), option("b"), option("c")]


@pytest.mark.parametrize(
    ("tried", "options", "chat", "line"),
    [
        # another endpoint, at once
        ([("a", BUSY)], AB, "b", "b"),
        # all have been tried: a chat waits and begins another round, a line waits in its queue
        ([("a", BUSY), ("b", BUSY)], AB, "wait", "later: server_error"),
        # no attempt is left
        ([("a", BUSY), ("b", BUSY), ("c", BUSY)], ABC, "later: server_error", "later: server_error"),
        # the endpoint that is left can't be used now: a chat tries it all the same
        ([("a", BUSY)], [option("a"), option("b", OPEN)], "b", "later: server_error"),
        # what the request itself is refused for is final
        ([("a", REFUSED)], AB, "never: invalid_request", "never: invalid_request"),
        # a model that is not there leaves that endpoint alone, and is final only when all have said so
        ([("a", NO_MODEL)], AB, "b", "b"),
        ([("a", NO_MODEL), ("b", NO_MODEL)], AB, "never: model_not_found", "never: model_not_found"),
        ([("a", NO_MODEL)], [option("a"), option("b", OPEN)], "b", "later: no_endpoint_available"),
        ([("a", NO_MODEL)], [option("a"), option("b", priority=1)], "b", "b"),
        ([("a", NO_MODEL), ("b", BUSY)], AB, "wait", "later: server_error"),
        # a refusal uses up no attempt
        ([("a", NO_MODEL), ("b", BUSY), ("b", BUSY)], ABC, "c", "c"),
        # so is a model that the key may not use
        ([("a", NO_ACCESS), ("b", NO_ACCESS)], AB, "never: authentication_error", "never: authentication_error"),
        # a refused key passes when it has been put right
        ([("a", BAD_KEY)], AB, "b", "b"),
        ([("a", BAD_KEY), ("b", NO_MODEL)], AB, "later: authentication_error", "later: authentication_error"),
        # too long for the model, wherever it runs
        ([("a", TOO_LONG)], AB, "never: context_length_exceeded", "never: context_length_exceeded"),
        # one that was asked for is gone by now
        ([("a", BUSY)], [], "later: server_error", "later: server_error"),
    ],
)
def test_where_it_goes_after_failures(tried: Tried, options: list[Option], chat: str, line: str) -> None:
    assert (decision(after(tried), options, CHAT), decision(after(tried), options, LINE)) == (chat, line)


TWO_MODELS = chain(("a", "m0"), ("b", "m0"), ("a", "m1"), ("b", "m1"))


@pytest.mark.parametrize(
    ("tried", "options", "expected"),
    [
        # the same model elsewhere, then the next one
        ([("a/m0", NO_MODEL)], TWO_MODELS, "b/m0"),
        ([("a/m0", NO_MODEL), ("b/m0", NO_MODEL)], TWO_MODELS, "a/m1"),
        # a failing endpoint fails with every model
        ([("a/m0", BUSY)], TWO_MODELS, "b/m0"),
        ([("a/m0", BUSY)], chain(("a", "m0"), ("a", "m1"), ("b", "m1")), "b/m1"),
        # a longer model reads what was too long for the first, at any endpoint
        ([("a/m0", TOO_LONG)], TWO_MODELS, "a/m1"),
        ([("a/m0", TOO_LONG), ("a/m1", TOO_LONG)], TWO_MODELS, "never: context_length_exceeded"),
        # an attempt is kept for each model that was not asked
        ([], chain(("a", "m0"), ("b", "m0"), ("c", "m0"), ("d", "m0"), ("e", "m1")), "a/m0"),
        ([("a/m0", BUSY)], chain(("a", "m0"), ("b", "m0"), ("c", "m0"), ("d", "m0"), ("e", "m1")), "b/m0"),
        ([("a/m0", BUSY), ("b/m0", BUSY)], chain(("a", "m0"), ("b", "m0"), ("c", "m0"), ("d", "m0"), ("e", "m1")), "e/m1"),
        ([("a/m0", BUSY)], chain(("a", "m0"), ("b", "m0"), ("c", "m1"), ("d", "m1"), ("e", "m2")), "c/m1"),
        # and none for one that can't be used
        (
            [("a/m0", BUSY), ("b/m0", BUSY)],
            [*chain(("a", "m0"), ("b", "m0"), ("c", "m0")), option("e", OPEN, model="m1", position=1)],
            "c/m0",
        ),
    ],
)
def test_where_it_goes_along_its_chain(tried: Tried, options: list[Option], expected: str) -> None:
    models = tuple(dict.fromkeys(option.model for option in options))
    assert (decision(after(tried, models), options, CHAT), decision(after(tried, models), options, LINE)) == (expected, expected)


@pytest.mark.parametrize(
    ("tried", "expected"),
    [
        ([("a", BUSY)], "wait"),
        ([("a", BAD_KEY)], "never: authentication_error"),
        ([("a", TOO_LONG)], "never: context_length_exceeded"),
        ([("a", BUSY), ("a", BUSY), ("a", BUSY)], "later: server_error"),
    ],
)
def test_without_fallback_the_first_endpoint_is_tried_again(tried: Tried, expected: str) -> None:
    assert decision(after(tried), AB, ALONE) == expected


@pytest.mark.parametrize("strategy", BalancingStrategy)
def test_every_strategy_leaves_unusable_endpoints_alone(strategy: BalancingStrategy) -> None:
    options = [option("a", OPEN), option("b"), option("c", LIMITED)]
    assert decision(Attempts((None,)), options, replace(CHAT, strategy=strategy)) == "b"


def test_least_connections_counts_what_is_in_flight_from_everywhere() -> None:
    options = [option("a", load=2), option("b", load=1)]
    assert decision(Attempts((None,)), options, replace(CHAT, strategy=BalancingStrategy.LEAST_CONNECTIONS)) == "b"


def test_a_full_endpoint_is_passed_over_by_those_that_spill() -> None:
    options = [option("a", load=4), option("b", load=3), option("c", priority=1)]
    assert (decision(Attempts((None,)), options, CHAT), decision(Attempts((None,)), options, replace(CHAT, spill=True))) == (
        "a",
        "b",
    )
    options = [option("a", load=4), option("c", priority=1)]
    assert decision(Attempts((None,)), options, replace(CHAT, spill=True)) == "a", (
        "another tier is for when this one can't be used"
    )


def test_an_emergency_takes_no_turn() -> None:
    turns = {"a": 0.5, "b": -0.5}
    decision = decide(Attempts((None,)), [option("a", OPEN)], CHAT, turns, random.Random(0))
    assert decision == Go(Target("a"), turns)


def waits(rounds: int, options: Sequence[Option], rules: FailoverRules, failure: Failure = BUSY) -> list[float | None]:
    """Seconds to wait after all have failed in so many rounds before, with many seeds; None where it is given up."""
    found: list[float | None] = []
    for seed in range(50):
        attempts = Attempts((None,))
        attempts.rounds = rounds
        for each in options:
            attempts.failed(each.target, failure)
        decision = decide(attempts, options, rules, {}, random.Random(seed))
        found.append(decision.seconds if isinstance(decision, Wait) else None)
    return found


@pytest.mark.parametrize(
    ("rounds", "limits", "least", "most"),
    [
        # the first backoff: half of it is random
        (0, (0.0,), 0.05, 0.1),
        # it doubles
        (2, (0.0,), 0.2, 0.4),
        # up to a limit
        (20, (0.0,), 0.5, 1.0),
        # one endpoint may be asked at once
        (0, (5.0, 0.0), 0.05, 0.1),
        # all ask for patience: the one that asks for least is waited for
        (0, (5.0, 3.0), 3.0, 3.0),
    ],
)
def test_how_long_is_waited(rounds: int, limits: tuple[float, ...], least: float, most: float) -> None:
    options = [option(str(index), Health(limited_for=limit)) for index, limit in enumerate(limits)]
    rules = replace(CHAT, attempts=9, first_pause=0.1, longest_pause=1.0)
    assert all(pause is not None and least <= pause <= most for pause in waits(rounds, options, rules))


def test_what_an_answer_asks_for_is_waited_for_before_its_health_says_so() -> None:
    limited = Failure(FailureKind.RATE_LIMIT, "HTTP 429", 429, retry_after=7.0)
    assert set(waits(0, [option("a")], CHAT, limited)) == {7.0}


def test_it_is_not_waited_longer_than_there_is_time() -> None:
    assert set(waits(0, [option("a", LIMITED)], replace(CHAT, patience=2.9))) == {None}
    assert decision(Attempts((None,)), [option("a", LIMITED)], replace(CHAT, patience=2.9)) == "a", "nothing else has been tried"


def test_whoever_is_broken_does_not_cut_the_wait_for_the_others_short() -> None:
    assert set(waits(0, [option("a", LIMITED), option("b", OPEN)], CHAT)) == {3.0}


@settings(deadline=None, derandomize=True)
@given(waits=st.integers(0, 10_000), first=st.floats(0.01, 10), longest=st.floats(10, 1000), seed=st.integers())
def test_a_backoff_is_half_certain_and_bounded(waits: int, first: float, longest: float, seed: int) -> None:
    whole = min(longest, first * 2.0 ** min(waits, 30))
    assert whole / 2 <= backoff(waits, first, longest, random.Random(seed)) <= whole <= longest
