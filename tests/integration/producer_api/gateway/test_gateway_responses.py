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
from producer_api.gateway.responses_wire import chat_body
from tests.fake_providers import FAKE_PROVIDERS, Ending, Image, ProviderServer, Reply, Script, Text, Turn

OPENAI = FAKE_PROVIDERS["openai"]


@pytest.fixture
def model() -> Iterator[ProviderServer]:
    with ProviderServer(OPENAI) as server:
        yield server


@pytest.fixture
def gateway(model: ProviderServer, start: StartServer) -> LiveServer:
    return start(endpoints=(model.endpoint(name="one", models={"m": "m"}),), retry_count=0)


@pytest.fixture
def client(gateway: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0, timeout=PATIENCE_S) as client:
        yield client


def test_a_text(client: openai.OpenAI, model: ProviderServer) -> None:
    answer = client.responses.create(model="m", input="Hi", instructions="Be brief.", max_output_tokens=50)
    assert answer.output_text == Script().text
    assert answer.status == "completed"
    assert answer.usage is not None and (answer.usage.input_tokens, answer.usage.output_tokens) == (12, 7)
    heard = model.heard[0]
    assert (heard.system, heard.turns, heard.max_tokens) == ("Be brief.", (Turn("user", (Text("Hi"),)),), 50)
    Response.model_validate(answer.model_dump())


def test_messages_with_parts(client: openai.OpenAI, model: ProviderServer) -> None:
    parts: Any = [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": "https://example.com/a.png"}]
    items: Any = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]},
        {"type": "message", "role": "user", "content": parts},
    ]
    client.responses.create(model="m", input=items)
    assert model.heard[0].turns == (
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
        ({"input": [{"type": "function_call_output"}]}, "input[0]"),
        ({"input": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools"),
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
