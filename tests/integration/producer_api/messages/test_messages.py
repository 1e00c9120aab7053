"""`/v1/messages` as Anthropic's own client sees it, in front of each provider."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from live_server import PATIENCE_S, LiveServer, StartServer

from balancer.outcome import FailureKind, Usage
from tests.fake_providers import (
    FAKE_PROVIDERS,
    Document,
    Ending,
    Image,
    ProviderServer,
    Reply,
    Script,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    Turn,
)

if TYPE_CHECKING:
    import anthropic  # at run time where it is used: importing it takes seconds

WITH_TOOLS = ["anthropic", "gemini", "openai", "openai_responses", "vllm"]
WEATHER: Any = {
    "name": "weather",
    "description": "Look the weather up.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
SEOUL = ToolCall("weather", {"city": "Seoul"}, "call_1")
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture
def model(request: pytest.FixtureRequest) -> Iterator[ProviderServer]:
    with ProviderServer(FAKE_PROVIDERS[getattr(request, "param", "anthropic")]) as server:
        yield server


@pytest.fixture
def gateway(model: ProviderServer, start: StartServer) -> LiveServer:
    return start(endpoints=(model.endpoint(name="model", models={"m": "m"}),), retry_count=0)


@pytest.fixture
def client(gateway: LiveServer) -> Iterator["anthropic.Anthropic"]:
    import anthropic

    with anthropic.Anthropic(base_url=gateway.url, api_key="any", max_retries=0, timeout=PATIENCE_S) as client:
        yield client


def _said(message: "anthropic.types.Message") -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@pytest.mark.parametrize("model", sorted(FAKE_PROVIDERS), indirect=True)
def test_a_text(client: "anthropic.Anthropic", model: ProviderServer) -> None:
    answer = client.messages.create(model="m", max_tokens=50, system="Be brief.", messages=[{"role": "user", "content": "Hi"}])
    assert (_said(answer), answer.stop_reason, answer.role) == (Script().text, "end_turn", "assistant")
    usage = answer.usage
    assert (usage.input_tokens + (usage.cache_read_input_tokens or 0), usage.output_tokens) == (12, 7)
    received = model.received[0]
    assert (received.system, received.turns, received.max_tokens) == ("Be brief.", (Turn("user", (Text("Hi"),)),), 50)
    type(answer).model_validate(answer.model_dump())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", WITH_TOOLS, indirect=True)
def test_tools_go_both_ways(client: "anthropic.Anthropic", model: ProviderServer, stream: bool) -> None:
    model.answer = lambda received: Script(text="Done.") if len(received.turns) > 1 else Script("", (SEOUL,), Ending.TOOLS)
    messages: list[Any] = [{"role": "user", "content": "How is Seoul?"}]
    asked: Any = {"model": "m", "max_tokens": 500, "tools": [WEATHER], "tool_choice": {"type": "any"}}
    first = _answered(client, stream, messages=messages, **asked)
    assert first.stop_reason == "tool_use"
    [call] = [block for block in first.content if block.type == "tool_use"]
    assert (call.name, call.input) == ("weather", {"city": "Seoul"})
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "no such city", "is_error": True}
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = _answered(client, stream, messages=messages, **{**asked, "tool_choice": {"type": "auto"}})
    assert _said(second) == "Done."
    turns = [Turn(t.role, tuple(p for p in t.parts if not isinstance(p, Thought))) for t in model.received[1].turns]
    assert [turn.role for turn in turns] == ["user", "assistant", "tool"]
    assert [(part.name, part.arguments) for part in turns[1].parts] == [("weather", {"city": "Seoul"})]
    [back] = turns[2].parts
    assert isinstance(back, ToolResult) and back.text == "Error: no such city"
    assert model.received[0].tools == {"weather": WEATHER["input_schema"]}
    assert (model.received[0].tool_choice, model.refused) == ("required", [])


def _answered(client: "anthropic.Anthropic", stream: bool, **asked: Any) -> "anthropic.types.Message":
    if not stream:
        return client.messages.create(**asked)
    with client.messages.stream(**asked) as events:
        return events.get_final_message()


@pytest.mark.parametrize("model", sorted(FAKE_PROVIDERS), indirect=True)
def test_a_stream_adds_up_to_the_message(client: "anthropic.Anthropic", model: ProviderServer) -> None:
    with client.messages.stream(model="m", max_tokens=50, messages=[{"role": "user", "content": "Hi"}]) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    whole = client.messages.create(model="m", max_tokens=50, messages=[{"role": "user", "content": "Hi"}])
    assert text == Script().text
    assert _without_thinking(final) == _without_thinking(whole)


def _without_thinking(message: "anthropic.types.Message") -> dict[str, Any]:
    """What a message says; some servers show their thinking in whole answers only."""
    fields: dict[str, Any] = message.to_dict()
    return {**fields, "id": "", "content": [block for block in fields["content"] if block["type"] != "thinking"]}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["anthropic", "openai"], indirect=True)
def test_a_refusal_is_one(client: "anthropic.Anthropic", model: ProviderServer, stream: bool) -> None:
    model.answer = Script(text="" if model.fake.provider == "anthropic" else "No.", ending=Ending.REFUSAL)
    answer = _answered(client, stream, model="m", max_tokens=50, messages=[{"role": "user", "content": "Hi"}])
    assert answer.stop_reason == "refusal"


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_is_given_back_as_it_was_signed(client: "anthropic.Anthropic", model: ProviderServer, stream: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": "Hi"}]
    asked: Any = {"model": "m", "max_tokens": 5000, "thinking": {"type": "enabled", "budget_tokens": 2000}}
    first = _answered(client, stream, messages=messages, **asked)
    assert [block.type for block in first.content] == ["thinking", "redacted_thinking", "text"]
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": "Go on."}]
    _answered(client, stream, messages=messages, **asked)
    assert model.refused == []
    assert model.received[1].turns[1].parts == (Thought("Well, well."), Thought(""), Text(Script().text))


@pytest.mark.parametrize("model", ["gemini", "openai_responses"], indirect=True)
def test_thinking_of_another_model_does_not_trouble_an_endpoint(client: "anthropic.Anthropic", model: ProviderServer) -> None:
    thought: Any = {"type": "thinking", "thinking": "Well.", "signature": "c2lnbmVk"}
    said: Any = {"role": "assistant", "content": [thought, {"type": "text", "text": "Hello"}]}
    user: Any = {"role": "user", "content": "Hi"}
    answer = client.messages.create(
        model="m", max_tokens=5000, messages=[user, said, user], thinking={"type": "enabled", "budget_tokens": 2000}
    )
    assert (_said(answer), model.refused) == (Script().text, [])
    assert model.received[0].turns[1].parts == (Text("Hello"),)


@pytest.mark.parametrize("model", ["anthropic", "gemini", "openai"], indirect=True)
def test_images_and_documents(client: "anthropic.Anthropic", model: ProviderServer) -> None:
    image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    pdf: Any = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
    content: Any = [{"type": "text", "text": "What is this?"}, image, pdf]
    client.messages.create(model="m", max_tokens=50, messages=[{"role": "user", "content": content}])
    expected = (Text("What is this?"), Image("image/png", PNG), Document("application/pdf", "JVBERi0="))
    assert model.received[0].turns[0].parts == expected


def test_what_only_anthropic_knows_reaches_it(client: "anthropic.Anthropic", model: ProviderServer) -> None:
    cached: Any = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    system: Any = [{"type": "text", "text": "Long.", **cached}]
    title: Any = {"title": "Notes", "context": "Of a talk.", "citations": {"enabled": True}}
    document: Any = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hi"}, **title}
    schema: Any = {"type": "object", "properties": {"stars": {"type": "integer"}}, "additionalProperties": False}
    client.messages.create(
        model="m",
        max_tokens=50,
        system=system,
        tools=[{**WEATHER, **cached}],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        messages=[{"role": "user", "content": [document]}],
        output_config={"effort": "high", "format": {"type": "json_schema", "schema": schema}},
        stop_sequences=["END"],
        service_tier="standard_only",
        metadata={"user_id": "u1"},
    )
    assert model.refused == []
    sent = httpx.Response(200, content=model.bodies[0]).json()
    assert sent["system"] == system
    assert sent["tools"][0]["cache_control"] == cached["cache_control"]
    assert sent["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert {name: sent["messages"][0]["content"][0][name] for name in title} == title
    assert sent["output_config"] == {"effort": "high", "format": {"type": "json_schema", "schema": schema}}
    assert (sent["stop_sequences"], sent["service_tier"], sent["metadata"]) == (["END"], "standard_only", {"user_id": "u1"})


def test_the_cache_is_counted_as_anthropic_counts_it(client: "anthropic.Anthropic", model: ProviderServer) -> None:
    model.answer = Script(usage=Usage(prompt=100, completion=7, cached=40, cache_write=30))
    usage = client.messages.create(model="m", max_tokens=50, messages=[{"role": "user", "content": "Hi"}]).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (30, 40, 30)


ERRORS = {
    FailureKind.RATE_LIMIT: ("RateLimitError", "rate_limit_error"),
    FailureKind.BAD_REQUEST: ("BadRequestError", "invalid_request_error"),
    FailureKind.CONTEXT_TOO_LONG: ("BadRequestError", "invalid_request_error"),
    FailureKind.OVERLOADED: ("ServiceUnavailableError", "overloaded_error"),
    FailureKind.SERVER: ("InternalServerError", "api_error"),
}
"""Failures of an endpoint -> the client's exception, and the type in it."""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", list(ERRORS))
def test_errors_are_the_clients_own(
    client: "anthropic.Anthropic", model: ProviderServer, kind: FailureKind, stream: bool
) -> None:
    failure = model.fake.fail(kind)
    assert failure is not None
    model.answer = failure
    expected, type_ = ERRORS[kind]
    import anthropic

    with pytest.raises(anthropic.APIStatusError) as caught:
        _answered(client, stream, model="m", max_tokens=50, messages=[{"role": "user", "content": "Hi"}])
    assert type(caught.value).__name__ == expected
    assert isinstance(caught.value.body, dict) and caught.value.body["type"] == "error"
    assert caught.value.body["error"]["type"] == type_
    assert caught.value.request_id == caught.value.body["request_id"]


@pytest.mark.parametrize("model", ["openai"], indirect=True)
def test_an_error_amid_a_stream_is_one(client: "anthropic.Anthropic", model: ProviderServer) -> None:
    choices = b'[{"index":0,"delta":{"content":"a"}}]'
    head = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":' + choices + b"}"
    broken = head + b'\n\ndata: {"error":{"message":"out of memory","type":"server_error","code":500}}\n\n'
    model.answer = Reply(200, broken, {"content-type": "text/event-stream"})
    import anthropic

    with pytest.raises(anthropic.APIStatusError, match="out of memory"):
        _answered(client, True, model="m", max_tokens=50, messages=[{"role": "user", "content": "Hi"}])


def test_an_unknown_model_and_a_missing_route_are_not_found(client: "anthropic.Anthropic", gateway: LiveServer) -> None:
    import anthropic

    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="none", max_tokens=50, messages=[{"role": "user", "content": "Hi"}])
    missing = httpx.get(f"{gateway.url}/v1/messages/no/such")
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "search_result"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "new": 1}]}]}, "messages[0].content[0].new"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]},
            "source.type",
        ),
        ({"tools": [{"type": "web_search_20260209", "name": "web_search"}]}, "tools[0].type"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"output_config": {"new": 1}}, "output_config.new"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_what_can_not_be_served_is_refused_by_name(gateway: LiveServer, change: dict[str, Any], named: str) -> None:
    request = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]} | change
    refused = httpx.post(f"{gateway.url}/v1/messages", json=request)
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    assert named in refused.json()["error"]["message"]
    assert refused.headers["request-id"] == refused.json()["request_id"]


def test_models_are_listed(client: "anthropic.Anthropic") -> None:
    [listed] = list(client.models.list())
    assert (listed.id, listed.display_name, listed.type, listed.lifecycle) == ("m", "m", "model", "active")
    assert client.models.retrieve("m").created_at == listed.created_at


def test_tokens_are_estimated(client: "anthropic.Anthropic", model: ProviderServer) -> None:
    counted = client.messages.count_tokens(model="m", messages=[{"role": "user", "content": "word " * 400}])
    assert 350 <= counted.input_tokens <= 600
    assert model.received == []


@pytest.mark.parametrize("where", ["x-api-key", "authorization"])
def test_a_key_may_stand_where_anthropic_has_it(model: ProviderServer, start: StartServer, where: str) -> None:
    key = "a-key-of-thirty-two-characters-00"
    gateway = start(endpoints=(model.endpoint(name="model", models={"m": "m"}),), api_keys=(key,))
    request = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
    value = key if where == "x-api-key" else f"Bearer {key}"
    assert httpx.post(f"{gateway.url}/v1/messages", json=request, headers={where: value}).status_code == 200
    refused = httpx.post(f"{gateway.url}/v1/messages", json=request, headers={where: value + "x"})
    assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
