"""Wire formats are found by name and by host, wherever they come from."""

import logging
from importlib import metadata
from types import ModuleType
from typing import Any

import pytest

from balancer.errors import ConfigurationError
from balancer.providers import Adapter, adapter_for
from balancer.providers.openai.adapter import OpenAIAdapter
from balancer.providers.registry import _BUILT_IN, ENTRY_POINTS, Registry


class Own(OpenAIAdapter):
    default_url = "https://own.example/v1"
    hosts = ("own.example",)


def own_entry_point(name: str = "own", value: str = "a_package_of_a_test:Own") -> metadata.EntryPoint:
    return metadata.EntryPoint(name, value, ENTRY_POINTS)


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is installed."""
    module = ModuleType("a_package_of_a_test")
    module.Own = Own  # type: ignore[attr-defined]
    module.NoAdapter = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)


def registry(*entry_points: metadata.EntryPoint) -> Registry:
    return Registry(lambda: entry_points)


@pytest.mark.parametrize("adapter", [Own, Own()])  # a class, or an object of it
def test_what_is_registered_is_known(adapter: Any) -> None:
    known = registry()
    known.register("own", adapter)
    assert isinstance(known.adapter_for("own"), Own)
    assert known.names() == (*_BUILT_IN, "own")
    assert known.problem_with("own") is None
    assert known.facts_of("own").default_url == "https://own.example/v1"


@pytest.mark.parametrize(
    ("name", "adapter", "reason"),
    [
        ("Own", Own, "a-z"),  # not lower case
        ("", Own, "begin with a letter"),
        ("1st", Own, "begin with a letter"),
        ("a/b", Own, "a-z"),
        ("x" * 33, Own, "at most 32"),
        (None, Own, "a-z"),
        ("own", dict, "must be a balancer.providers.Adapter"),
        ("own", "own:Own", "must be a balancer.providers.Adapter"),
        ("own", Adapter, "abstract"),  # nothing of it is written
        ("openai", Own, "replace=True"),
        ("laas", Own, "replace=True"),
    ],
)
def test_what_is_no_adapter_or_no_name_is_refused(name: Any, adapter: Any, reason: str) -> None:
    known = registry()
    with pytest.raises(ConfigurationError, match=reason):
        known.register(name, adapter)
    assert known.names() == tuple(_BUILT_IN)


def test_one_that_comes_with_the_package_can_be_replaced() -> None:
    known = registry()
    known.register("openai", Own, replace=True)
    assert type(known.adapter_for("openai")) is Own
    facts = known.facts_of("openai")
    assert facts.default_url == "https://own.example/v1"
    assert "api" in facts.options  # what the class doesn't say stays as it was


def test_entry_points_are_looked_for_only_when_they_are_needed() -> None:
    asked = []
    known = Registry(lambda: asked.append(1) or [own_entry_point()])  # type: ignore[func-returns-value]
    known.adapter_for("openai")
    assert known.problem_with("vllm") is None and known.guess("https://api.openai.com/v1") == "openai"
    assert asked == []
    assert isinstance(known.adapter_for("own"), Own)
    known.names()
    assert asked == [1]


def test_the_host_of_an_entry_point_is_known() -> None:
    assert registry(own_entry_point()).guess("https://OWN.example/v1") == "own"


def test_a_broken_entry_point_is_a_warning_and_an_error_only_where_it_is_used(caplog: pytest.LogCaptureFixture) -> None:
    known = registry(
        own_entry_point("broken", "no_such_module_at_all:Adapter"),
        own_entry_point("odd", "a_package_of_a_test:NoAdapter"),
        own_entry_point(),
    )
    with caplog.at_level(logging.WARNING):
        assert known.names() == (*_BUILT_IN, "own")
    assert "the entry point broken = no_such_module_at_all:Adapter" in caplog.text and "ModuleNotFoundError" in caplog.text
    assert "odd = a_package_of_a_test:NoAdapter" in caplog.text and "must be a balancer.providers.Adapter" in caplog.text
    assert isinstance(known.adapter_for("own"), Own)
    with pytest.raises(ConfigurationError, match="no_such_module_at_all"):
        known.adapter_for("broken")
    assert "no_such_module_at_all" in str(known.problem_with("broken"))


def test_an_entry_point_does_not_take_the_place_of_another_adapter(caplog: pytest.LogCaptureFixture) -> None:
    known = registry(own_entry_point("openai"), own_entry_point(), own_entry_point())
    with caplog.at_level(logging.WARNING):
        known.names()
    assert type(known.adapter_for("openai")) is OpenAIAdapter
    assert caplog.text.count("is left out: there is a provider") == 2


def test_what_a_program_registered_wins_over_an_entry_point() -> None:
    known = registry(own_entry_point())
    mine = OpenAIAdapter()
    known.register("own", mine)
    known.names()
    assert known.adapter_for("own") is mine


def test_an_unknown_name_is_refused() -> None:
    known = registry()
    with pytest.raises(KeyError):
        known.adapter_for("bard")
    assert known.problem_with("bard") == f"must be one of {', '.join(known.names())} (got 'bard')"


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://api.anthropic.com/v1", "anthropic"),
        ("https://API.Anthropic.com:443/v1", "anthropic"),
        ("https://generativelanguage.googleapis.com/v1beta", "gemini"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "openai"),  # Gemini's OpenAI-compatible face
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "openai"),
        ("https://api-laas.wanted.co.kr/api/preset/v2", "laas"),
        ("https://api.ennoia.so/api/preset/v2", "laas"),
        ("http://gpu1:8000/v1", "openai"),
        ("https://api.anthropic.com.evil.example/v1", "openai"),
        ("https://evil.example/api.anthropic.com", "openai"),
        ("http://[::1/v1", "openai"),  # half an address
        ("", "openai"),
    ],
)
def test_a_host_tells_the_wire_format(url: str, provider: str) -> None:
    assert registry().guess(url) == provider


@pytest.mark.parametrize("name", _BUILT_IN)
def test_the_table_says_what_the_class_says(name: str) -> None:
    adapter, facts = adapter_for(name), _BUILT_IN[name].facts
    assert (adapter.default_url or facts.default_url, adapter.hosts or facts.hosts) == (facts.default_url, facts.hosts)
    assert set(adapter.options or facts.options) == set(facts.options)
    assert tuple(adapter.required_options or facts.required_options) == facts.required_options
    assert set(facts.required_options) <= set(facts.options)
