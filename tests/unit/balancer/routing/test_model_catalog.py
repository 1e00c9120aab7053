"""Who serves a model, under which name, and what a request without a model is asked for."""

import pytest

from balancer.endpoint import Endpoint
from balancer.routing.model_catalog import ModelCatalog, upstream_model
from balancer.routing.model_routes import ModelRoutes

NAMED = Endpoint("http://a/v1", "named", models={"fast": "llama-8b", "good": "llama-70b"})
PATTERN = Endpoint("http://b/v1", "pattern", models={"gpt-*": "gpt-*"})
MIXED = Endpoint("http://c/v1", "mixed", models={"gpt-*": "gpt-*", "fast": "mini"})
STAR = Endpoint("http://d/v1", "star", models={"*": "*"})
SILENT = Endpoint("http://e/v1", "silent")
ALL = {endpoint.name: endpoint for endpoint in (NAMED, PATTERN, MIXED, STAR, SILENT)}


@pytest.mark.parametrize(
    ("model", "serving"),
    [
        ("fast", ["named", "mixed", "star", "silent"]),
        ("gpt-4o", ["pattern", "mixed", "star", "silent"]),
        ("gpt", ["star", "silent"]),  # shorter than the pattern's beginning
        ("other", ["star", "silent"]),
        (None, ["named", "pattern", "mixed", "star", "silent"]),
    ],
)
def test_an_endpoint_serves_what_it_names_or_all_if_it_says_nothing(model: str | None, serving: list[str]) -> None:
    assert ModelCatalog(ALL).serving(model) == serving


@pytest.mark.parametrize(
    ("endpoint", "model", "upstream"),
    [
        (NAMED, "good", "llama-70b"),
        (NAMED, None, "llama-8b"),  # the first
        (PATTERN, "gpt-4o", "gpt-4o"),
        (PATTERN, None, None),  # never the pattern itself
        (MIXED, None, "mini"),  # the first that is a name
        (STAR, None, None),
        (SILENT, "m", "m"),
        (SILENT, None, None),
    ],
)
def test_what_an_endpoint_is_asked_for(endpoint: Endpoint, model: str | None, upstream: str | None) -> None:
    assert upstream_model(endpoint, model) == upstream


def test_what_an_endpoint_lists_is_what_it_serves_where_nothing_is_configured() -> None:
    catalog = ModelCatalog(ALL)
    assert not catalog.has_asked("silent")
    catalog.learn("silent", ["m-2", "m-1"])
    assert catalog.has_asked("silent")
    assert (catalog.serves("silent", "m-1"), catalog.serves("silent", "fast")) == (True, False)
    assert catalog.listed_default("silent") == "m-2"
    catalog.forget("silent")
    assert catalog.serves("silent", "fast")


def test_behind_a_pattern_the_default_is_listed_and_fits() -> None:
    catalog = ModelCatalog(ALL)
    catalog.learn("pattern", ["o3", "*", "gpt-4o", "gpt-4.1"])
    assert catalog.listed_default("pattern") == "gpt-4o"
    assert catalog.possible_upstreams("pattern", None) == ["gpt-4.1", "gpt-4o"]
    assert catalog.possible_upstreams("star", None) == [""]


def test_models_learned_by_another_process_have_no_order() -> None:
    catalog = ModelCatalog(ALL)
    catalog.learn_unordered({"silent": {"m-2", "m-1"}})
    assert catalog.listed_default("silent") == "m-1"


def test_chains_and_aliases_are_served_by_whoever_serves_one_of_their_models() -> None:
    catalog = ModelCatalog({"named": NAMED, "pattern": PATTERN}, ModelRoutes({"best": ("gpt-4o", "good"), "none": ("absent",)}))
    assert catalog.serving("best") == ["named", "pattern"]
    assert catalog.models() == {
        "fast": ["named"],
        "good": ["named"],
        "gpt-*": ["pattern"],
        "best": ["named", "pattern"],
    }
