"""The Responses route, as OpenAI's own client sees it."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import orjson
import pytest
from live_server import PATIENCE_S, LiveServer, StartServer
from openai.types.responses import Response

from balancer.outcome import FailureKind
from balancer.state.redis_connection import AsyncRedis
from jobs.access import KeyStore
from jobs.access.store import KeyOrder
from producer_api.responses.request import chat_body
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

OPENAI = FAKE_PROVIDERS["openai"]


@pytest.fixture
def model(request: pytest.FixtureRequest) -> Iterator[ProviderServer]:
    with ProviderServer(FAKE_PROVIDERS[getattr(request, "param", "openai")]) as server:
        yield server


@pytest.fixture
def gateway(model: ProviderServer, start: StartServer) -> LiveServer:
    return start(endpoints=(model.endpoint(name="model", models={"m": "m"}),), retry_count=0)


@pytest.fixture
def client(gateway: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0, timeout=PATIENCE_S) as client:
        yield client


def test_a_text(client: openai.OpenAI, model: ProviderServer) -> None:
    answer = client.responses.create(model="m", input="Hi", instructions="Be brief.", max_output_tokens=50)
    assert answer.output_text == Script().text
    assert answer.status == "completed"
    assert answer.usage is not None and (answer.usage.input_tokens, answer.usage.output_tokens) == (12, 7)
    received = model.received[0]
    assert (received.system, received.turns, received.max_tokens) == ("Be brief.", (Turn("user", (Text("Hi"),)),), 50)
    Response.model_validate(answer.model_dump())


def test_messages_with_parts(client: openai.OpenAI, model: ProviderServer) -> None:
    parts: Any = [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": "https://example.com/a.png"}]
    items: Any = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]},
        {"type": "message", "role": "user", "content": parts},
    ]
    client.responses.create(model="m", input=items)
    assert model.received[0].turns == (
        Turn("user", (Text("Hi"),)),
        Turn("assistant", (Text("Hello"),)),
        Turn("user", (Text("What?"), Image(url="https://example.com/a.png"))),
    )


def test_an_answer_that_was_cut_off_is_incomplete(client: openai.OpenAI, model: ProviderServer) -> None:
    model.answer = Script("Once", ending=Ending.LENGTH)
    answer = client.responses.create(model="m", input="Hi")
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None and answer.incomplete_details.reason == "max_output_tokens"


def test_a_stream(client: openai.OpenAI) -> None:
    with client.responses.stream(model="m", input="Hi") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert kinds.count("response.output_text.delta") >= 2
    assert final.output_text == Script().text
    assert final.usage is not None and final.usage.total_tokens == 19


@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_clients_own(client: openai.OpenAI, model: ProviderServer, stream: bool) -> None:
    model.answer = OPENAI.fail(FailureKind.RATE_LIMIT)
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model="m", input="Hi", stream=stream)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": []}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "function_call_output"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].arguments"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://a"}]}]}, "input[0].content[0]"),
        ({"input": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": "x", "previous_response_id": 5}, "previous_response_id"),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": "x", "tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": "x", "tools": [{"type": "function", "name": "f", "defer_loading": True}]}, "tools[0].defer_loading"),
        ({"input": "x", "tool_choice": {"type": "mcp"}}, "tool_choice"),
        ({"input": "x", "background": True}, "background"),
        ({"input": "x", "truncation": "auto"}, "truncation"),
        ({"input": "x", "include": ["web_search_call.results"]}, "include"),
        ({"input": "x", "conversation": "conv_1"}, "conversation"),
        ({"input": "x", "instructions": 5}, "instructions"),
        ({"input": "x", "reasoning": "high"}, "reasoning"),
        ({"input": "x", "reasoning": {"summary": "auto"}}, "reasoning.summary"),
        ({"input": "x", "text": {"format": 5}}, "text.format"),
        ({"input": "x", "text": {"colour": "red"}}, "text.colour"),
        ({"input": "x", "model": 5}, "model"),
        ({"input": "x", "stream": "yes"}, "stream"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(gateway: LiveServer, body: dict[str, Any], param: str) -> None:
    answer = httpx.post(f"{gateway.url}/v1/responses", json=body, timeout=PATIENCE_S)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_verbosity_goes_on_and_comes_back(client: openai.OpenAI) -> None:
    assert chat_body({"input": "Hi", "text": {"verbosity": "low"}})["verbosity"] == "low"
    answer = client.responses.create(model="m", input="Hi", text={"verbosity": "low"})
    assert answer.text is not None and answer.text.verbosity == "low"


REFUSAL = "I can't help with that."


def test_a_refusal_is_one(client: openai.OpenAI, model: ProviderServer) -> None:
    message = {"role": "assistant", "content": None, "refusal": REFUSAL}
    body = {"id": "c", "model": "m", "created": 1, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    model.answer = Reply(200, orjson.dumps(body), {"content-type": "application/json"})
    (item,) = client.responses.create(model="m", input="Hi").output
    assert item.type == "message"
    assert [(part.type, part.refusal) for part in item.content if part.type == "refusal"] == [("refusal", REFUSAL)]
    assert len(item.content) == 1


def test_a_streamed_refusal_is_one(client: openai.OpenAI, model: ProviderServer) -> None:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, {"refusal": REFUSAL[:5]}, {"refusal": REFUSAL[5:]}]
    chunks = [{"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events = b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    model.answer = Reply(200, events, {"content-type": "text/event-stream"})
    with client.responses.stream(model="m", input="Hi") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds.count("response.refusal.delta") == 2 and "response.refusal.done" in kinds
    assert "response.output_text.delta" not in kinds
    (item,) = final.output
    assert item.type == "message" and [part.type for part in item.content] == ["refusal"]


WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
SEOUL, BUSAN = ToolCall("weather", {"city": "Seoul"}, "call_1"), ToolCall("weather", {"city": "Busan"}, "call_2")


def _answered(client: openai.OpenAI, stream: bool, **asked: Any) -> Response:
    if not stream:
        answer: Response = client.responses.create(**asked)
        return answer
    with client.responses.stream(**asked) as events:
        kinds = [event.type for event in events]
        final: Response = events.get_final_response()
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == len(final.output)
    return final


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["anthropic", "gemini", "openai", "openai_responses"], indirect=True)
def test_tools_go_both_ways(client: openai.OpenAI, model: ProviderServer, stream: bool) -> None:
    model.answer = lambda received: Script("Done.") if len(received.turns) > 1 else Script("", (SEOUL, BUSAN), Ending.TOOLS)
    asked: Any = {"model": "m", "tools": [WEATHER], "tool_choice": "required", "store": False}
    first = _answered(client, stream, input="How are they?", **asked)
    calls = [item for item in first.output if item.type == "function_call"]
    assert [(call.name, orjson.loads(call.arguments)) for call in calls] == [("weather", c.arguments) for c in (SEOUL, BUSAN)]
    assert first.status == "completed"
    results: list[Any] = [{"type": "function_call_output", "call_id": c.call_id, "output": f"rain {c.call_id}"} for c in calls]
    items = [{"role": "user", "content": "How are they?"}, *(item.model_dump() for item in first.output), *results]
    second = _answered(client, stream, input=items, **{**asked, "tool_choice": "auto"})
    assert (second.output_text, model.refused) == ("Done.", [])
    parts = [part for turn in model.received[1].turns for part in turn.parts if not isinstance(part, Thought)]
    assert [(part.name, part.arguments) for part in parts if isinstance(part, ToolCall)] == [
        ("weather", {"city": "Seoul"}), ("weather", {"city": "Busan"}),
    ]  # fmt: skip
    assert [part.text.partition(" ")[0] for part in parts if isinstance(part, ToolResult)] == ["rain", "rain"]
    assert model.received[0].tool_choice == "required"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["anthropic"], indirect=True)
def test_thinking_is_given_back_as_it_was_signed(client: openai.OpenAI, model: ProviderServer, stream: bool) -> None:
    first = _answered(client, stream, model="m", input="Hi", store=False, include=["reasoning.encrypted_content"])
    assert [item.type for item in first.output] == ["reasoning", "message"]
    items: Any = [{"role": "user", "content": "Hi"}, *(item.model_dump() for item in first.output)]
    client.responses.create(model="m", input=[*items, {"role": "user", "content": "Go on."}], store=False)
    assert model.refused == []
    assert model.received[1].turns[1].parts == (Thought("Well, well."), Thought(""), Text(Script().text))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["anthropic", "openai"], indirect=True)
def test_a_response_is_followed_by_another(client: openai.OpenAI, model: ProviderServer, stream: bool) -> None:
    first = _answered(client, stream, model="m", input="Hi", instructions="Be brief.")
    second = _answered(client, stream, model="m", input="And?", previous_response_id=first.id)
    third = _answered(client, stream, model="m", input="So?", previous_response_id=second.id, instructions="Be long.")
    said = [(turn.role, [p.text for p in turn.parts if isinstance(p, Text)]) for turn in model.received[2].turns]
    answer = ("assistant", [Script().text])
    assert said == [("user", ["Hi"]), answer, ("user", ["And?"]), answer, ("user", ["So?"])]
    assert [received.system for received in model.received] == ["Be brief.", "", "Be long."]
    assert (third.previous_response_id, model.refused) == (second.id, [])


def test_a_response_is_kept_until_it_is_deleted(client: openai.OpenAI) -> None:
    made = client.responses.create(model="m", input="Hi")
    assert client.responses.retrieve(made.id) == made
    (item,) = client.responses.input_items.list(made.id).data
    assert item.type == "message" and item.content[0].type == "input_text"
    client.responses.delete(made.id)
    for again in (lambda: client.responses.retrieve(made.id), lambda: client.responses.delete(made.id)):
        with pytest.raises(openai.NotFoundError):
            again()
    with pytest.raises(openai.BadRequestError, match="not found"):
        client.responses.create(model="m", input="And?", previous_response_id=made.id)


def test_a_response_that_is_not_stored_is_not_found(client: openai.OpenAI) -> None:
    made = client.responses.create(model="m", input="Hi", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_../../files/x")


def test_the_input_comes_in_pages(client: openai.OpenAI) -> None:
    items: Any = [{"role": "user", "content": f"number {n}"} for n in range(5)]
    made = client.responses.create(model="m", input=items)
    listed = list(client.responses.input_items.list(made.id, limit=2, order="asc"))
    assert [item.content[0].text if isinstance(item.content, list) else item.content for item in listed] == [
        f"number {n}" for n in range(5)
    ]


async def test_a_response_belongs_to_the_key_that_made_it(model: ProviderServer, start: StartServer, redis: AsyncRedis) -> None:
    gateway = start(endpoints=(model.endpoint(name="model", models={"m": "m"}),), api_keys=("the-admins-secret-of-this-server",))
    secrets = [(await KeyStore(redis).create(KeyOrder(name)))[1] for name in ("mine", "theirs")]

    async def asked(key: str, method: str, path: str, **body: Any) -> httpx.Response:
        async with httpx.AsyncClient(
            base_url=gateway.url, headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE_S
        ) as http:
            return await http.request(method, path, json=body or None)

    made = (await asked(secrets[0], "POST", "/v1/responses", model="m", input="Hi")).json()
    path = f"/v1/responses/{made['id']}"
    assert (await asked(secrets[1], "GET", path)).status_code == 404
    assert (await asked(secrets[1], "GET", f"{path}/input_items")).status_code == 404
    assert (await asked(secrets[1], "DELETE", path)).status_code == 404
    following = {"model": "m", "input": "And?", "previous_response_id": made["id"]}
    assert (await asked(secrets[1], "POST", "/v1/responses", **following)).status_code == 400
    assert (await asked(secrets[0], "POST", "/v1/responses", **following)).status_code == 200
    assert (await asked("the-admins-secret-of-this-server", "DELETE", path)).status_code == 200


@pytest.mark.parametrize("model", ["anthropic", "gemini", "openai"], indirect=True)
def test_images_and_files(client: openai.OpenAI, model: ProviderServer) -> None:
    content: Any = [
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
    ]
    client.responses.create(model="m", input=[{"role": "user", "content": content}])
    assert model.received[0].turns[0].parts == (Image("image/png", "iVBORw0KGgo="), Document("application/pdf", "JVBERi0="))
