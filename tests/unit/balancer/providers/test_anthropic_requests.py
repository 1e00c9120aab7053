"""What a request's settings, tools and headers become in Anthropic's format."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from anthropic_calls import ADAPTER, HERE, HI, OLD, TOOL, refused, sent

from balancer.endpoint import Endpoint
from balancer.providers import RequestRefused, adapter_for
from balancer.providers.anthropic.adapter import AnthropicAdapter
from balancer.providers.anthropic.requests import MAX_TOKENS


def test_the_registry_knows_it() -> None:
    assert isinstance(adapter_for("anthropic"), AnthropicAdapter)


def test_key_and_version_go_into_headers() -> None:
    assert ADAPTER.headers(Endpoint("http://h", api_key="k")) == {
        "content-type": "application/json",
        "anthropic-version": "2026-10-21",
        "x-api-key": "k",
    }
    assert ADAPTER.headers(OLD)["anthropic-version"] == "2023-06-01"
    assert "x-api-key" not in ADAPTER.headers(Endpoint("http://h"))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"max_tokens": MAX_TOKENS}),  # the API insists on a limit
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_tokens": 5, "max_completion_tokens": 6}, {"max_tokens": 6}),  # the newer name goes first
        ({"stream": True}, {"stream": True}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"n": 1, "stop": None, "tools": None, "seed": None}, {}),
        ({"reasoning_effort": "minimal"}, {"output_config": {"effort": "low"}}),
        ({"reasoning_effort": "xhigh"}, {"output_config": {"effort": "xhigh"}}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
        ({"reasoning_effort": "none", "thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {"reasoning_effort": "high", "response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
            {"output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {}}}},
        ),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"user": "u", "safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
        ({"user": "u", "metadata": {"user_id": "v", "job": "7"}}, {"metadata": {"user_id": "v"}}),
        ({"metadata": {"job": "7"}, "store": True, "prompt_cache_key": "k"}, {}),  # changes nothing about the answer
        ({"service_tier": "default"}, {"service_tier": "standard_only"}),
        ({"service_tier": "priority"}, {"service_tier": "auto"}),
        ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": False}, {}),
    ],
)
def test_fields_are_translated(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    plain = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], "max_tokens": MAX_TOKENS}
    assert sent(**fields) == plain | expected


@pytest.mark.parametrize(
    ("endpoint", "fields", "expected"),
    [
        (replace(HERE, max_tokens=100), {}, 100),  # a default
        (replace(HERE, max_tokens=100), {"max_tokens": 700}, 100),  # and a cap
        (replace(HERE, options={"max_tokens": "50"}), {}, 50),
        (replace(HERE, options={"max_tokens": "50"}), {"max_tokens": 70}, 70),  # but this is no cap
        (replace(HERE, options={"max_tokens": "50"}, max_tokens=60), {}, 60),
    ],
)
def test_the_limit_comes_from_the_request_else_the_endpoint(endpoint: Endpoint, fields: dict[str, Any], expected: int) -> None:
    assert sent(endpoint, **fields)["max_tokens"] == expected


def test_the_model_is_called_what_the_endpoint_calls_it() -> None:
    endpoint = replace(HERE, models={"m": "claude-opus-5-5"})
    call = ADAPTER.call(endpoint, "/chat/completions", {"model": "m", "messages": HI})
    assert call.model == orjson.loads(call.body)["model"] == "claude-opus-5-5"


def test_sampling_passes_only_where_the_version_takes_it() -> None:
    sampling = {"temperature": 0.5, "top_p": 0.9, "top_k": 5}
    assert {name: sent(OLD, **sampling)[name] for name in sampling} == sampling
    for name, value in sampling.items():
        assert refused(**{name: value}).param == name
    assert "drop_params" in refused(temperature=0.5).reason
    assert "service_tier" not in sent(replace(HERE, drop_params=True), service_tier="flex")
    assert not sampling.keys() & sent(replace(HERE, drop_params=True), **sampling, seed=7).keys()


def test_an_endpoints_own_temperature_is_left_out_where_it_would_be_refused() -> None:
    assert "temperature" not in sent(replace(HERE, temperature=0.7))
    assert sent(replace(OLD, temperature=0.7))["temperature"] == 0.7
    assert refused(replace(HERE, temperature=0.7), temperature=0.5).param == "temperature"


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        ("auto", True, {"type": "auto"}),
        ("none", False, {"type": "none"}),  # nothing is called side by side then
        ("required", None, {"type": "any"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        (TOOL, False, {"type": "tool", "name": "f", "disable_parallel_tool_use": True}),
    ],
)
def test_the_choice_of_tools(choice: Any, parallel: bool | None, expected: Any) -> None:
    assert sent(tools=[TOOL], tool_choice=choice, parallel_tool_calls=parallel).get("tool_choice") == expected


def test_a_tool_without_parameters_takes_an_empty_object() -> None:
    assert sent(tools=[TOOL])["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]
    described = {**TOOL, "function": {"name": "f", "description": "d", "strict": True, "parameters": {"properties": {}}}}
    assert sent(tools=[described])["tools"] == [
        {
            "name": "f",
            "description": "d",
            "strict": True,
            "input_schema": {"type": "object", "properties": {}, "additionalProperties": False},
        }
    ]


def test_every_object_of_a_schema_is_closed() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "string"}}}
    open_one = {"type": "object", "additionalProperties": {"type": "string"}}
    schema = {
        "type": "object",
        "properties": {"one": inner, "many": {"type": "array", "items": inner}, "either": {"anyOf": [inner, {"type": "null"}]}},
        "$defs": {"open": open_one},
    }
    asked = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    made = sent(response_format=asked)["output_config"]["format"]["schema"]
    closed = {**inner, "additionalProperties": False}
    assert made["additionalProperties"] is False
    assert made["properties"]["one"] == made["properties"]["many"]["items"] == made["properties"]["either"]["anyOf"][0] == closed
    assert made["$defs"]["open"] == open_one
    assert "additionalProperties" not in schema, "the caller's own object was changed"


def test_a_schema_nested_without_end_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(500):
        schema = {"type": "array", "items": schema}
    with pytest.raises(RequestRefused, match="nested"):
        sent(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}})


def test_other_settings_that_cannot_be_used_are_refused() -> None:
    assert refused(replace(HERE, options={"max_tokens": "many"})).param == "max_tokens"
    assert refused(OLD, temperature="hot").param == "temperature"
    with pytest.raises(RequestRefused, match="/embeddings"):
        ADAPTER.call(HERE, "/embeddings", {"model": "m", "input": "x"})
