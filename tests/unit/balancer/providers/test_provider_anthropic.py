"""Anthropic's Messages API: what a request becomes, and what is refused."""

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.endpoint import Endpoint
from balancer.providers import Call, RequestRefused, adapter_for
from balancer.providers.anthropic.adapter import AnthropicAdapter
from balancer.providers.anthropic.requests import MAX_TOKENS
from tests.fake_providers import Document, Heard, Image, Text, ToolCall, ToolResult, Turn
from tests.fake_providers.speak_anthropic import SPEAKER

ADAPTER = AnthropicAdapter()
HERE = SPEAKER.endpoint("http://h")
OLD = replace(HERE, options={"version": "2023-06-01"})
CALL = Call("/messages", b"{}", "m")
HI = [{"role": "user", "content": "Hi"}]
USER_HI = Turn("user", (Text("Hi"),))
DATA = "JVBERi0xLjQK"
TOOL = {"type": "function", "function": {"name": "f"}}


def sent(endpoint: Endpoint = HERE, **fields: Any) -> dict[str, Any]:
    call = ADAPTER.call(endpoint, "/chat/completions", {"model": "m", "messages": HI, **fields})
    assert call.path == "/messages"
    SPEAKER.hear("/v1/messages", ADAPTER.headers(endpoint), call.body)  # the service would take it
    return orjson.loads(call.body)


def heard(messages: list[Any], **fields: Any) -> Heard:
    call = ADAPTER.call(HERE, "/chat/completions", {"model": "m", "messages": messages, **fields})
    return SPEAKER.hear("/v1/messages", ADAPTER.headers(HERE), call.body)


def refused(endpoint: Endpoint = HERE, **fields: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        ADAPTER.call(endpoint, "/chat/completions", {"model": "m", "messages": HI, **fields})
    return caught.value


def part(**members: Any) -> list[Any]:
    return [*HI, {"role": "assistant", "content": "?"}, {"role": "user", "content": [{"type": "text", "text": "x"}, members]}]


def calling(*calls: tuple[str, Any]) -> dict[str, Any]:
    made = [{"id": i, "type": "function", "function": {"name": "f", "arguments": arguments}} for i, arguments in calls]
    return {"role": "assistant", "content": None, "tool_calls": made}


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


def test_ids_of_tool_calls_from_elsewhere_are_made_to_fit_alike_in_call_and_result() -> None:
    def turn(*ids: str) -> list[dict[str, Any]]:
        calls = [{"id": i, "type": "function", "function": {"name": "f", "arguments": ""}} for i in ids]
        results = [{"role": "tool", "tool_call_id": i, "content": "done"} for i in ids]
        return [*HI, {"role": "assistant", "content": None, "tool_calls": calls}, *results]

    odd = ["functions.f:0", "functions_f:0", "functions.f_0", "call-1", "", "x" * 300 + "."]
    messages = sent(messages=turn(*odd))["messages"]
    uses = [block["id"] for block in messages[1]["content"]]
    assert uses == [block["tool_use_id"] for block in messages[2]["content"]]
    assert len(set(uses)) == len(odd) and "call-1" in uses
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", identifier) for identifier in uses)
    assert all(block["input"] == {} for block in messages[1]["content"])


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


CACHE = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


def test_what_is_to_be_cached_is_said_wherever_it_stands() -> None:
    system = {"role": "system", "content": [{"type": "text", "text": "long", **CACHE}, {"type": "text", "text": "short"}]}
    image = {"type": "image_url", "image_url": {"url": "https://h/i.png"}, **CACHE}
    user = {"role": "user", "content": [{"type": "text", "text": "a"}, image]}
    made = sent(messages=[system, user, {"role": "assistant", "content": "b", **CACHE}, *HI], tools=[{**TOOL, **CACHE}], **CACHE)
    assert made["system"] == [{"type": "text", "text": "long", **CACHE}, {"type": "text", "text": "short"}]
    assert made["messages"][0]["content"][1]["cache_control"] == CACHE["cache_control"]
    assert made["messages"][1]["content"][-1]["cache_control"] == CACHE["cache_control"]
    assert made["tools"][0]["cache_control"] == CACHE["cache_control"]
    assert made["cache_control"] == CACHE["cache_control"]


@pytest.mark.parametrize("part", [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://h/i.png"}}])
def test_a_field_of_a_part_that_anthropic_does_not_have_is_refused_by_name(part: dict[str, Any]) -> None:
    with pytest.raises(RequestRefused) as caught:
        sent(messages=[{"role": "user", "content": [{**part, "surprise": 1}]}])
    assert caught.value.param == "messages[0].content[0].surprise"


def test_plain_text_is_a_document() -> None:
    file = {"type": "file", "file": {"file_data": "data:text/plain;base64,SGk=", "filename": "a.txt"}}
    made = sent(messages=[{"role": "user", "content": [file]}])["messages"][0]["content"][0]
    assert made["source"] == {"type": "text", "media_type": "text/plain", "data": "Hi"}


def test_neighbours_of_one_side_become_one_turn() -> None:
    messages = [*HI, *HI, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}, *HI]
    assert heard(messages).turns == (
        Turn("user", (Text("Hi"), Text("Hi"))),
        Turn("assistant", (Text("a"), Text("b"))),
        USER_HI,
    )


def test_system_text_is_hoisted_from_wherever_it_stands() -> None:
    parts = [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]
    request = heard([{"role": "system", "content": "a"}, *HI, {"role": "developer", "content": parts}, *HI])
    assert request.system == "a\n\nb\n\nc"
    assert request.turns == (Turn("user", (Text("Hi"), Text("Hi"))),)


def test_results_of_tools_stand_before_what_the_user_says_with_them() -> None:
    messages = [
        *HI,
        calling(("c1", '{"a": 1}'), ("c2", "{}")),
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "user", "content": "Go on"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
    ]
    assert heard(messages, tools=[TOOL]).turns == (
        USER_HI,
        Turn("assistant", (ToolCall("f", {"a": 1}, "c1"), ToolCall("f", {}, "c2"))),
        Turn("tool", (ToolResult("c1", "one"), ToolResult("c2", "two"))),
        Turn("user", (Text("Go on"),)),
    )


def test_a_tool_may_return_nothing() -> None:
    messages = [*HI, calling(("c1", "{}")), {"role": "tool", "tool_call_id": "c1", "content": ""}]
    assert heard(messages, tools=[TOOL]).turns[-1] == Turn("tool", (ToolResult("c1", ""),))


def test_empty_text_is_left_out() -> None:
    messages = [
        {"role": "system", "content": " "},
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "\n"},
    ]
    request = heard(messages)
    assert (request.system, request.turns) == ("", (USER_HI,))


def test_a_refusal_in_the_history_is_something_that_was_said() -> None:
    history = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}], "refusal": None}
    assert heard([*HI, history]).turns[1] == Turn("assistant", (Text("No."),))
    assert heard([*HI, {"role": "assistant", "content": None, "refusal": "No."}]).turns[1] == Turn("assistant", (Text("No."),))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "image_url", "image_url": {"url": f"data:image/jpg;base64,{DATA}"}}, Image("image/jpeg", DATA)),
        ({"type": "image_url", "image_url": {"url": "http://a/b.png", "detail": "high"}}, Image(url="http://a/b.png")),
        ({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{DATA}"}}, Document("application/pdf", DATA)),
    ],
)
def test_parts(given: dict[str, Any], expected: Any) -> None:
    assert heard(part(**given)).turns[2].parts[1] == expected


def test_a_file_keeps_its_name_and_may_be_an_address() -> None:
    blocks = sent(messages=part(type="file", file={"file_data": f"data:application/pdf;base64,{DATA}", "filename": "a.pdf"}))
    assert blocks["messages"][2]["content"][1]["title"] == "a.pdf"
    by_address = heard(part(type="document", document_url={"url": "https://a/b.pdf"}))
    assert by_address.turns[2].parts[1] == Document("", "https://a/b.pdf")


IN_PART = "messages[2].content[1]"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"model": 7}, "model"),
        ({"model": ["m"]}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": {"role": "user"}}, "messages"),
        ({"messages": [{"role": "system", "content": "Only this"}]}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["Hi"]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].image_url",
        ),
        ({"messages": part(type="input_audio", input_audio={"data": "x", "format": "wav"})}, f"{IN_PART}.input_audio"),
        ({"messages": part(type=None)}, f"{IN_PART}.type"),
        ({"messages": part(type="video")}, f"{IN_PART}.type"),
        ({"messages": part(type=["text"])}, f"{IN_PART}.type"),
        ({"messages": part(type="text", text=None)}, f"{IN_PART}.text"),
        ({"messages": part(type="image_url", image_url="data:,")}, f"{IN_PART}.image_url"),
        ({"messages": part(type="image_url", image_url={"url": None})}, f"{IN_PART}.image_url.url"),
        ({"messages": part(type="image_url", image_url={"url": "file:///etc/passwd"})}, f"{IN_PART}.image_url.url"),
        ({"messages": part(type="image_url", image_url={"url": "data:image/bmp;base64,AA"})}, f"{IN_PART}.image_url.url"),
        ({"messages": part(type="file", file={"file_id": "file-1"})}, f"{IN_PART}.file.file_id"),
        ({"messages": part(type="file", file={"file_data": "data:text/plain;base64,AA"})}, f"{IN_PART}.file.file_data"),
        ({"messages": part(type="file", file={})}, f"{IN_PART}.file.file_data"),
        ({"messages": part(type="document", document_url={})}, f"{IN_PART}.document_url.url"),
        ({"messages": [*HI, calling(("c", "[1]"))]}, "messages[1].tool_calls[0].function.arguments"),
        ({"messages": [*HI, calling(("c", "{}"), ("d", "{"))]}, "messages[1].tool_calls[1].function.arguments"),
        ({"messages": [*HI, calling(("c", {"a": 1}))]}, "messages[1].tool_calls[0].function.arguments"),
        ({"messages": [*HI, {"role": "assistant", "tool_calls": 5}]}, "messages[1].tool_calls"),
        ({"messages": [*HI, {"role": "assistant", "tool_calls": [{"function": {}}]}]}, "messages[1].tool_calls[0].id"),
        ({"messages": [*HI, {"role": "assistant", "content": "", "function_call": {}}]}, "messages[1].function_call"),
        ({"messages": [*HI, {"role": "assistant", "audio": {"id": "a"}}]}, "messages[1].audio"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages"),  # half a character
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"n": 2}, "n"),
        ({"n": "one"}, "n"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", 5]}, "stop[1]"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema"),
        ({"reasoning_effort": "immense"}, "reasoning_effort"),
        ({"reasoning_effort": ["low"]}, "reasoning_effort"),
        ({"thinking": True}, "thinking"),
        ({"thinking": {}}, "thinking.type"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"user": 5}, "user"),
        ({"metadata": "x"}, "metadata"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id"),
        ({"tools": {}}, "tools"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}, "tools[0].function.parameters"),
        ({"tool_choice": "required"}, "tool_choice"),  # of which tools?
        ({"tools": [TOOL], "tool_choice": "some"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
        ({"tools": [TOOL], "parallel_tool_calls": 0}, "parallel_tool_calls"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"invented": 1}, "invented"),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_place(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields).param == param


def test_what_is_nested_too_deeply_to_be_written_is_refused_by_its_name() -> None:
    deep: Any = {}
    for _ in range(300):
        deep = {"a": deep}
    assert refused(tools=[{"type": "function", "function": {"name": "f", "parameters": deep}}]).param == "tools"
    schema = {"type": "json_schema", "json_schema": {"schema": deep}}
    assert refused(response_format=schema).param == "response_format"


def test_other_settings_that_cannot_be_used_are_refused() -> None:
    assert refused(replace(HERE, options={"max_tokens": "many"})).param == "max_tokens"
    assert refused(OLD, temperature="hot").param == "temperature"
    with pytest.raises(RequestRefused, match="/embeddings"):
        ADAPTER.call(HERE, "/embeddings", {"model": "m", "input": "x"})


def test_the_request_is_left_as_it_was() -> None:
    body = {"model": "m", "messages": [*HI, *HI, calling(("c", "{}"))], "tools": [TOOL], "temperature": 0.5}
    before = orjson.dumps(body)
    ADAPTER.call(OLD, "/chat/completions", body)
    assert orjson.dumps(body) == before


WORDS = [
    "role", "user", "assistant", "tool", "system", "content", "type", "text", "image_url", "url", "file", "file_data", "document",
    "document_url", "input_audio", "tool_calls", "tool_call_id", "id", "function", "name", "arguments", "parameters", "{}",
    "json_schema", "schema", "auto", "data:image/png;base64,AA", "data:application/pdf;base64,AA", "user_id", "refusal",
]  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**65) | st.floats() | st.sampled_from(WORDS) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=12,
)
RICH = {
    "model": "m",
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        *part(type="image_url", image_url={"url": "data:image/png;base64,AA"}),
        {
            "role": "user",
            "content": [{"type": "file", "file": {"file_data": f"data:application/pdf;base64,{DATA}", "filename": "a"}}],
        },
        {"role": "user", "content": [{"type": "document", "document_url": {"url": "https://a/b.pdf"}}]},
        {**calling(("c", "{}")), "refusal": "No."},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}}
    ],
    "tool_choice": TOOL,
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"schema": {}}},
    "thinking": {"type": "adaptive"},
    "metadata": {"user_id": "u"},
    "stop": ["a"],
    "max_tokens": 5,
    "max_completion_tokens": 6,
    "n": 1,
    "reasoning_effort": "low",
    "service_tier": "auto",
    "stream": True,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "user": "u",
    "safety_identifier": "s",
}
"""A request that has something of everything."""


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, each in inner for place in places(each, (*here, key)))]


def with_other(value: Any, place: tuple[Any, ...], other: Any) -> Any:
    if not place:
        return other
    copied = value.copy()
    copied[place[0]] = with_other(value[place[0]], place[1:], other)
    return copied


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(place=st.sampled_from(places(RICH)[1:]), other=ANYTHING)
def test_anything_anywhere_is_sent_or_refused_by_its_place(place: tuple[Any, ...], other: Any) -> None:
    body = with_other(RICH, place, other)
    try:
        call = ADAPTER.call(OLD, "/chat/completions", body)
    except RequestRefused as exc:
        field = exc.param.partition("[")[0].partition(".")[0]
        assert field == place[0] or (field == "tool_choice" and not body["tools"])
        return
    made = orjson.loads(call.body)
    assert made["messages"] and made["max_tokens"] > 0 and made["model"] == call.model
    assert all(one["role"] != other["role"] for one, other in pairwise(made["messages"]))
    assert all(message["content"] for message in made["messages"])


def test_the_request_with_something_of_everything_is_sent() -> None:
    assert sent(OLD, **RICH)["tool_choice"] == {"type": "tool", "name": "f", "disable_parallel_tool_use": True}
