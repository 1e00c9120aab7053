"""Names, aliases, chains and `auto`: which models may answer a request."""

from typing import Any

import pytest

from balancer.routing.difficulty import Difficulty
from balancer.routing.model_routes import MOST_MODELS, NO_ROUTES, AutoTiers, ModelRoutes

TIERS = AutoTiers({Difficulty.EASY: ("mini",), Difficulty.MEDIUM: ("middle",), Difficulty.HARD: ("big", "bigger")})
ROUTES = ModelRoutes({"fast": ("mini",), "smart": ("big", "bigger")}, TIERS)
HARD = {"reasoning_effort": "high"}


@pytest.mark.parametrize(
    ("body", "models"),
    [
        ({"model": "gpt"}, ("gpt",)),
        ({}, (None,)),
        ({"model": None}, (None,)),
        ({"model": ""}, (None,)),
        # an alias, a chain
        ({"model": "fast"}, ("mini",)),
        ({"model": "smart"}, ("big", "bigger")),
        # a chain that the request itself names, as text, as a list, or beside the model
        ({"model": "a,b"}, ("a", "b")),
        ({"model": " a , b ,"}, ("a", "b")),
        ({"model": ["a", "b"]}, ("a", "b")),
        ({"model": "a", "models": ["b", "c"]}, ("a", "b", "c")),
        ({"models": ["b", "c"]}, ("b", "c")),
        # chains in chains of requests; each model once
        ({"model": "fast,smart,big"}, ("mini", "big", "bigger")),
        # by difficulty: its own tier, harder ones, then easier ones
        ({"model": "auto"}, ("mini", "middle", "big", "bigger")),
        ({"model": "auto", **HARD}, ("big", "bigger", "middle", "mini")),
        ({"model": "auto", "tools": [{}]}, ("middle", "big", "bigger", "mini")),
        # nonsense names nothing
        ({"model": ",,"}, (None,)),
        ({"model": [None, 5]}, (None,)),
        ({"model": "a", "models": "b"}, ("a",)),
    ],
)
def test_who_may_answer(body: dict[str, Any], models: tuple[str | None, ...]) -> None:
    assert ROUTES.models_for(body) == models


def test_without_rules_auto_is_a_model_like_any_other() -> None:
    assert NO_ROUTES.models_for({"model": "auto"}) == ("auto",)
    assert NO_ROUTES.names == ()


def test_a_chain_has_an_end() -> None:
    assert len(ROUTES.models_for({"model": ",".join(map(str, range(1000)))})) == MOST_MODELS


def test_everything_behind_a_name() -> None:
    assert ROUTES.all_behind("smart,x") == ("big", "bigger", "x")
    assert set(ROUTES.all_behind("auto")) == {"mini", "middle", "big", "bigger"}
    assert ROUTES.names == ("fast", "smart", "auto")
