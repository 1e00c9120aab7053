"""Changes of the fleet on top of its configuration."""

from dataclasses import replace
from typing import Any

import pytest

from balancer.configuration.changes import EndpointChange, changed_fleet
from balancer.endpoint import Endpoint

A, B = Endpoint("http://a/v1", "a", weight=2.0, api_key="secret", models={"m": "m"}), Endpoint("http://b/v1", "b")


def effective(env: dict[str, str] | None = None, **changes: EndpointChange) -> Any:
    return changed_fleet((A, B), changes, env or {})


def test_without_changes_it_is_what_is_configured() -> None:
    assert effective().endpoints == {"a": A, "b": B}


def test_settings_stand_over_those_in_the_configuration() -> None:
    found = effective(a=EndpointChange({"weight": 5, "max_concurrency": 8}))
    assert found.endpoints["a"] == replace(A, weight=5.0, max_concurrency=8)
    assert list(found.endpoints) == ["a", "b"]


def test_another_address_may_be_another_provider() -> None:
    found = effective(a=EndpointChange({"url": "https://api.anthropic.com/v1"}))
    assert found.endpoints["a"].provider == "anthropic"


def test_new_endpoints_stand_behind_the_others() -> None:
    settings = {"name": "c", "url": "http://c/v1", "api_key": "${C_KEY}", "models": ["m"]}
    found = effective({"C_KEY": "key-of-c"}, c=EndpointChange(settings, draining=True))
    assert list(found.endpoints) == ["a", "b", "c"]
    assert (found.endpoints["c"].api_key, found.draining) == ("key-of-c", {"c"})


def test_what_can_not_be_used_changes_nothing() -> None:
    unset = EndpointChange({"api_key": "${C_KEY}"})
    found = effective(a=unset, c=EndpointChange({"name": "c", "url": "nowhere"}), d=EndpointChange(draining=True))
    assert found.endpoints == {"a": A, "b": B}
    assert "C_KEY" in found.problems["a"]
    assert "url" in found.problems["c"]
    assert found.draining == frozenset()


def test_a_removed_endpoint_is_not_used() -> None:
    assert list(effective(a=EndpointChange(removed=True, draining=True)).endpoints) == ["b"]


@pytest.mark.parametrize("change", [EndpointChange(), EndpointChange({"weight": 2}, True, True, True)])
def test_a_change_survives_redis(change: EndpointChange) -> None:
    assert EndpointChange.from_json(change.to_json()) == change
    assert "source" not in change.to_json().decode(), "earlier versions can read it"
    found = EndpointChange({"url": "http://h"}, source="dns:gpus", found={"url": "http://h"})
    assert EndpointChange.from_json(found.to_json()) == found
