"""What messages and their parts become in Anthropic's format."""

import re
from typing import Any

import pytest
from anthropic_calls import ADAPTER, DATA, HERE, HI, TOOL, calling, part, refused, sent

from balancer.providers import RequestRefused
from tests.fake_providers import Document, Image, ReceivedRequest, Text, ToolCall, ToolResult, Turn
from tests.fake_providers.fake_anthropic import FAKE

USER_HI = Turn("user", (Text("Hi"),))


def received(messages: list[Any], **fields: Any) -> ReceivedRequest:
    call = ADAPTER.call(HERE, "/chat/completions", {"model": "m", "messages": messages, **fields})
    return FAKE.read_request("/v1/messages", ADAPTER.headers(HERE), call.body)


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
    assert received(messages).turns == (
        Turn("user", (Text("Hi"), Text("Hi"))),
        Turn("assistant", (Text("a"), Text("b"))),
        USER_HI,
    )


def test_system_text_is_hoisted_from_wherever_it_stands() -> None:
    parts = [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]
    request = received([{"role": "system", "content": "a"}, *HI, {"role": "developer", "content": parts}, *HI])
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
    assert received(messages, tools=[TOOL]).turns == (
        USER_HI,
        Turn("assistant", (ToolCall("f", {"a": 1}, "c1"), ToolCall("f", {}, "c2"))),
        Turn("tool", (ToolResult("c1", "one"), ToolResult("c2", "two"))),
        Turn("user", (Text("Go on"),)),
    )


def test_a_tool_may_return_nothing() -> None:
    messages = [*HI, calling(("c1", "{}")), {"role": "tool", "tool_call_id": "c1", "content": ""}]
    assert received(messages, tools=[TOOL]).turns[-1] == Turn("tool", (ToolResult("c1", ""),))


def test_empty_text_is_left_out() -> None:
    messages = [
        {"role": "system", "content": " "},
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "\n"},
    ]
    request = received(messages)
    assert (request.system, request.turns) == ("", (USER_HI,))


def test_a_refusal_in_the_history_is_something_that_was_said() -> None:
    history = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}], "refusal": None}
    assert received([*HI, history]).turns[1] == Turn("assistant", (Text("No."),))
    assert received([*HI, {"role": "assistant", "content": None, "refusal": "No."}]).turns[1] == Turn("assistant", (Text("No."),))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "image_url", "image_url": {"url": f"data:image/jpg;base64,{DATA}"}}, Image("image/jpeg", DATA)),
        ({"type": "image_url", "image_url": {"url": "http://a/b.png", "detail": "high"}}, Image(url="http://a/b.png")),
        ({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{DATA}"}}, Document("application/pdf", DATA)),
    ],
)
def test_parts(given: dict[str, Any], expected: Any) -> None:
    assert received(part(**given)).turns[2].parts[1] == expected


def test_a_file_keeps_its_name_and_may_be_an_address() -> None:
    blocks = sent(messages=part(type="file", file={"file_data": f"data:application/pdf;base64,{DATA}", "filename": "a.pdf"}))
    assert blocks["messages"][2]["content"][1]["title"] == "a.pdf"
    by_address = received(part(type="document", document_url={"url": "https://a/b.pdf"}))
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
