"""Tokens and money that an input will take, before anything is sent."""

from typing import Any

import pytest

from balancer.endpoint import Endpoint, Price
from balancer.routing import BalancingStrategy
from balancer.routing.model_routes import ModelRoutes
from jobs.cost.estimate import Estimator, TokenCount, answer_tokens, seconds_of, spread, sum_of

WEIGHTED = BalancingStrategy.WEIGHTED


def endpoint(name: str, **settings: Any) -> Endpoint:
    return Endpoint(f"http://{name}.invalid/v1", name, **settings)


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("body", "cap", "tokens"),
    [
        ({}, None, 256),  # no limit is given: what is expected
        ({}, 100, 100),  # no answer is longer than the endpoint's cap
        ({"max_tokens": 50}, None, 50),
        ({"max_tokens": 50}, 100, 50),
        ({"max_tokens": 5000}, 100, 100),
        ({"max_completion_tokens": 70, "max_tokens": 50}, None, 70),  # the newer name wins
        ({"max_tokens": None}, None, 256),
        ({"max_tokens": "50"}, None, 256),  # no count
        ({"max_tokens": True}, None, 256),
        ({"max_tokens": 50, "n": 3}, None, 150),  # three answers
        ({"n": 0}, None, 256),
    ],
)
def test_an_answer_is_as_long_as_the_request_allows(body: dict[str, Any], cap: int | None, tokens: int) -> None:
    assert answer_tokens(body, cap, 256) == tokens


A = endpoint("a", weight=3.0, models={"m": "m-large"})
B = endpoint("b", weight=1.0)
FALLBACK = endpoint("c", priority=1, models={"m": "m", "only": "o"})
ANY = endpoint("d", models={"*": "*"})
PATTERN = endpoint("e", models={"gpt-*": "gpt-*"})


@pytest.mark.parametrize(
    ("endpoints", "strategy", "model", "shares"),
    [
        # by weight, each under its own name of the model
        ([A, B], WEIGHTED, "m", [("a", "m-large", 0.75), ("b", "m", 0.25)]),
        # other strategies don't look at the weights
        ([A, B], BalancingStrategy.ROUND_ROBIN, "m", [("a", "m-large", 0.5), ("b", "m", 0.5)]),
        # only who serves the model
        ([A, B], WEIGHTED, "other", [("b", "other", 1.0)]),
        # the first tier has it all
        ([A, FALLBACK], WEIGHTED, "m", [("a", "m-large", 1.0)]),
        # the next tier, where the first does not serve the model
        ([A, FALLBACK], WEIGHTED, "only", [("c", "o", 1.0)]),
        ([A, FALLBACK], WEIGHTED, "unknown", []),
        ([ANY], WEIGHTED, "anything", [("d", "anything", 1.0)]),
        # a pattern is served as `run` serves it, and is no model itself
        ([PATTERN], WEIGHTED, "gpt-4o", [("e", "gpt-4o", 1.0)]),
        ([PATTERN], WEIGHTED, "llama", []),
        ([PATTERN], WEIGHTED, None, [("e", "", 1.0)]),
        # without a model: the endpoint's first
        ([A], WEIGHTED, None, [("a", "m-large", 1.0)]),
        ([B], WEIGHTED, None, [("b", "", 1.0)]),
    ],
)
def test_lines_spread_over_the_first_tier_that_serves_their_model(
    endpoints: list[Endpoint], strategy: BalancingStrategy, model: str | None, shares: list[tuple[str, str, float]]
) -> None:
    assert [(s.endpoint.name, s.upstream, s.share) for s in spread(endpoints, strategy, model)] == shares


def test_each_endpoint_is_priced_by_its_share() -> None:
    priced = endpoint("a", weight=3.0, price=Price(input=1.0, output=2.0))
    unknown = endpoint("b", provider="vllm", max_tokens=40)
    estimator = Estimator([priced, unknown], WEIGHTED, expected_answer=100)
    for _ in range(8):
        assert estimator.add({"model": "m", "messages": user("word " * 100)})
    found = estimator.by_endpoint
    costs = {"cost": pytest.approx(6 * 300e-6), "flex_cost": pytest.approx(6 * 300e-6)}
    assert found["a"] == TokenCount(6.0, 600.0, 600.0, **costs, seconds=pytest.approx(6 * (1 + 100 / 50)))
    assert found["b"] == TokenCount(2.0, 200.0, 80.0, unpriced=2.0, seconds=pytest.approx(2 * (1 + 40 / 50)))
    everything = sum_of(found.values())
    assert everything == TokenCount(8.0, 800.0, 680.0, **costs, unpriced=2.0, seconds=pytest.approx(18 + 3.6))


def test_lines_that_can_be_in_batches_are_priced_at_endpoints_that_have_them() -> None:
    alone, batches = endpoint("a", weight=3.0), endpoint("b", batch=True, price=Price(input=1.0, output=2.0))
    estimator = Estimator([alone, batches], WEIGHTED, expected_answer=100)
    assert estimator.add({"model": "m", "messages": user("word " * 100)})
    found = estimator.by_endpoint["b"]
    assert (found.lines, found.batch_lines, found.batch_cost) == (0.25, 1.0, pytest.approx(150e-6))


@pytest.mark.parametrize(
    ("limits", "seconds"), [({"max_concurrency": 2}, 30.0), ({"rpm": 10}, 120.0), ({"tpm": 2_000}, 60.0), ({}, 3.0)]
)
def test_how_long_an_endpoint_takes(limits: dict[str, int], seconds: float) -> None:
    count = TokenCount(lines=20, prompt=1_000, completion=1_000, seconds=60.0)
    assert seconds_of(count, endpoint("a", **limits)) == seconds


def test_a_line_that_is_not_served_is_reported() -> None:
    estimator = Estimator([A], WEIGHTED, 10)
    assert not estimator.add({"model": "unknown", "messages": user("x")})
    assert sum_of(estimator.by_endpoint.values()) == TokenCount()


def test_a_line_for_a_chain_goes_to_the_first_model_that_is_served() -> None:
    routes = ModelRoutes(chains={"best": ("absent", "only", "m")})
    estimator = Estimator([FALLBACK], WEIGHTED, 10, routes)
    assert estimator.add({"model": "best", "messages": user("x")})
    assert estimator.by_endpoint["c"].lines == 1.0


def test_a_request_is_priced_by_itself_where_large_ones_cost_more() -> None:
    """Gemini's 2.5 Pro costs twice as much a token above 200,000 of them."""
    gemini = Endpoint(
        "https://generativelanguage.googleapis.com", "g", provider="gemini", models={"gemini-2.5-pro": "gemini-2.5-pro"}
    )
    small, large = Estimator([gemini], WEIGHTED, 1), Estimator([gemini], WEIGHTED, 1)
    for _ in range(3):
        small.add({"model": "gemini-2.5-pro", "messages": user("word " * 100_000)})
    large.add({"model": "gemini-2.5-pro", "messages": user("word " * 300_000)})
    few, one = small.by_endpoint["g"], large.by_endpoint["g"]
    assert few.prompt == one.prompt
    assert few.unpriced == one.unpriced == 0
    assert one.cost == pytest.approx(2 * few.cost, rel=0.01)
