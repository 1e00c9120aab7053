"""`routes` and `auto` in the configuration."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from balancer.configuration import dump_configuration, load_configuration
from balancer.configuration.routes import routes_as_settings
from balancer.errors import ConfigurationError
from balancer.routing.difficulty import Difficulty
from balancer.routing.model_routes import ModelRoutes

ENDPOINTS = [{"url": "http://gpu1:8000/v1", "models": ["mini", "big", "bigger"]}]


def load(tmp_path: Path, **settings: Any) -> ModelRoutes:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"endpoints": ENDPOINTS, **settings}))
    configuration = load_configuration(path, environ={})
    path.write_text(dump_configuration(configuration))
    assert load_configuration(path, environ={}).routes == configuration.routes, "what is written is read as the same"
    return configuration.routes


def test_aliases_and_chains(tmp_path: Path) -> None:
    routes = load(tmp_path, routes={"fast": "mini", "smart": ["big", "bigger"]})
    assert routes.chains == {"fast": ("mini",), "smart": ("big", "bigger")}
    assert routes.auto is None


def test_auto_with_rules(tmp_path: Path) -> None:
    routes = load(tmp_path, auto={"easy": "mini", "hard": ["big", "bigger"], "rules": {"points_tools": 5, "hard_from": 4}})
    assert routes.auto is not None and not routes.auto.rules.words
    assert routes.auto.chains == {Difficulty.EASY: ("mini",), Difficulty.HARD: ("big", "bigger")}
    assert (routes.auto.rules.points_tools, routes.auto.rules.hard_from, routes.auto.rules.medium_from) == (5, 4, 1)
    tools = {"model": "auto", "tools": [{}]}
    assert routes.models_for(tools)[0] == "big"


def test_words_for_auto(tmp_path: Path) -> None:
    routes = load(tmp_path, auto={"easy": "mini", "hard": "big", "words": {"Triage": 3}})
    assert routes.auto is not None and routes.auto.rules.words == {"triage": 3}
    assert routes_as_settings(routes)["auto"] == {"easy": ["mini"], "hard": ["big"], "words": {"triage": 3}}
    assert routes.models_for({"model": "auto", "messages": [{"role": "user", "content": "TRIAGE"}]})[0] == "big"


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"routes": {"fast": []}}, "routes.fast"),
        ({"routes": {"fast": "a,b"}}, "routes.fast"),
        ({"routes": {"a,b": "mini"}}, "routes"),
        ({"routes": {"auto": "mini"}}, "routes"),
        ({"routes": {"fast": ["auto"]}}, "routes.fast"),
        ({"routes": {"fast": "nobody"}}, "routes.fast"),
        ({"routes": {"fast": ["mini"] * 17}}, "routes.fast"),
        ({"auto": {"easy": "nobody"}}, "auto"),
        ({"auto": {"simple": "mini"}}, "auto.simple"),
        ({"auto": {"easy": "mini", "rules": {"pionts": 1}}}, "auto.rules"),
        ({"auto": {"easy": "mini", "rules": {"long": -1}}}, "auto.rules"),
        ({"auto": {"easy": "mini", "rules": {"long": "x"}}}, "auto.rules.long"),
        ({"auto": {"easy": "mini", "rules": {"words": 1}}}, "auto.rules"),
        ({"auto": {"easy": "mini", "words": {"triage": -1}}}, "auto.words"),
        ({"auto": {"easy": "mini", "words": {" ": 1}}}, "auto.words"),
        ({"auto": {"easy": "mini", "words": {f"word{n}": 1 for n in range(101)}}}, "auto.words"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_path(tmp_path: Path, settings: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, **settings)
    assert caught.value.path == path


def test_models_that_endpoints_are_asked_for_are_not_known_at_start(tmp_path: Path) -> None:
    assert load(tmp_path, endpoints=[{"url": "http://gpu1:8000/v1"}], routes={"fast": "anything"}).names == ("fast",)
