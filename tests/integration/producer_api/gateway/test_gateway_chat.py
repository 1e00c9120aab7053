"""The gateway's chat route, as OpenAI's own client sees it, before servers that speak OpenAI's format."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from live_server import PATIENCE_S, LiveServer, StartServer

from balancer.outcome import FailureKind
from tests.fake_providers import FAKE_PROVIDERS, Ending, ProviderServer, ReceivedRequest, Reply, Script, ToolCall

OPENAI = FAKE_PROVIDERS["openai"]
HI: Any = [{"role": "user", "content": "Hi"}]
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def model() -> Iterator[ProviderServer]:
    """The only endpoint's server."""
    with ProviderServer(OPENAI) as server:
        yield server


@pytest.fixture
def gateway(model: ProviderServer, start: StartServer) -> LiveServer:
    """A server in front of it that tries once."""
    return start(endpoints=(model.endpoint(name="one", models={"m": "m"}),), retry_count=0)


@pytest.fixture
def client(gateway: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0, timeout=PATIENCE_S) as client:
        yield client


def test_a_plain_answer_with_its_headers(client: openai.OpenAI, model: ProviderServer) -> None:
    raw = client.chat.completions.with_raw_response.create(model="m", messages=HI, extra_body={"top_k": 5})
    answer = raw.parse()
    assert answer.choices[0].message.content == Script().text
    assert answer.usage is not None and answer.usage.prompt_tokens == 12
    assert raw.headers["x-roadbalancer-endpoint"] == "one"
    assert raw.headers["x-roadbalancer-attempts"] == "1"
    assert raw.headers["x-request-id"]
    assert json.loads(model.bodies[0])["top_k"] == 5, "unknown fields go through"


def test_paths_stand_with_and_without_the_version(gateway: LiveServer) -> None:
    for path in ("/v1/chat/completions", "/chat/completions"):
        assert httpx.post(gateway.url + path, json={"model": "m", "messages": HI}, timeout=PATIENCE_S).status_code == 200


def test_a_stream(client: openai.OpenAI, model: ProviderServer) -> None:
    model.answer = Script("one two three", (ToolCall("weather", {"city": "Seoul"}),), Ending.TOOLS)
    chunks = list(client.chat.completions.create(model="m", messages=HI, tools=[TOOL], stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "one two three"
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert all(chunk.choices for chunk in chunks), "the tokens were not asked for"


def test_a_stream_with_its_tokens(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="m", messages=HI, stream=True, stream_options={"include_usage": True})
    *_, last = stream
    assert not last.choices and last.usage is not None and last.usage.total_tokens == 19


@pytest.mark.parametrize(
    ("kind", "error", "code"),
    [
        (FailureKind.BAD_REQUEST, openai.BadRequestError, "invalid_request"),
        (FailureKind.CONTENT_FILTER, openai.BadRequestError, "content_filter"),
        (FailureKind.CONTEXT_TOO_LONG, openai.BadRequestError, "context_length_exceeded"),
        (FailureKind.RATE_LIMIT, openai.RateLimitError, "rate_limit_exceeded"),
        (FailureKind.OVERLOADED, openai.InternalServerError, "server_overloaded"),
        (FailureKind.SERVER, openai.InternalServerError, "server_error"),
        # the endpoint's key and account are none of the caller's business
        (FailureKind.AUTHENTICATION, openai.InternalServerError, "authentication_error"),
        (FailureKind.QUOTA, openai.InternalServerError, "insufficient_quota"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_an_endpoint_refuses_becomes_the_clients_error(
    client: openai.OpenAI,
    model: ProviderServer,
    kind: FailureKind,
    error: type[openai.APIStatusError],
    code: str,
    stream: bool,
) -> None:
    reply = OPENAI.fail(kind)
    assert reply is not None
    model.answer = reply
    with pytest.raises(error) as caught:
        client.chat.completions.create(model="m", messages=HI, stream=stream)
    assert caught.value.code == code
    assert "this is" in caught.value.message


@pytest.mark.parametrize(("status", "error"), [(404, openai.NotFoundError), (422, openai.UnprocessableEntityError)])
def test_other_refusals_keep_their_status(
    client: openai.OpenAI, model: ProviderServer, status: int, error: type[openai.APIStatusError]
) -> None:
    model.answer = Reply(status, b'{"error": {"message": "no", "type": "invalid_request_error", "param": null, "code": null}}')
    with pytest.raises(error):
        client.chat.completions.create(model="m", messages=HI)


def test_rate_limits_say_when_to_come_back(gateway: LiveServer, model: ProviderServer) -> None:
    model.answer = Reply(429, b"{}", {"retry-after": "7"})
    answer = httpx.post(f"{gateway.url}/v1/chat/completions", json={"model": "m", "messages": HI}, timeout=PATIENCE_S)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="nobody-has-this", messages=HI)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"


def test_a_server_that_is_gone_is_a_connection_error(start: StartServer) -> None:
    gone = start()
    client = openai.OpenAI(base_url=f"{gone.url}/v1", api_key="any", max_retries=0, timeout=PATIENCE_S)
    gone.stop()
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model="m", messages=HI)


def test_a_client_that_waits_too_short_times_out(gateway: LiveServer, model: ProviderServer) -> None:
    answer_now = threading.Event()
    model.answer = held(answer_now)
    hasty = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0, timeout=0.2)
    with hasty, pytest.raises(openai.APITimeoutError):
        hasty.chat.completions.create(model="m", messages=HI)
    answer_now.set()


def held(until: threading.Event) -> Callable[[ReceivedRequest], Script]:
    def answer(received: ReceivedRequest) -> Script:
        assert until.wait(PATIENCE_S)
        return Script()

    return answer


@pytest.mark.parametrize(
    ("content", "status", "param"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"[1]", 400, None),
        (b'"text"', 400, None),
        (b"\xff\xfe", 400, None),
        (b"{}", 400, "messages"),
        (b'{"messages": []}', 400, "messages"),
        (b'{"messages": "hi"}', 400, "messages"),
        (b'{"messages": [1]}', 400, "messages[0]"),
        (b'{"messages": [{}], "model": 5}', 400, "model"),
        (b'{"messages": [{}], "stream": "yes"}', 400, "stream"),
        (b'{"messages": [{}], "stream": true, "stream_options": 5}', 400, "stream_options"),
        (b'{"messages": [' + b"[" * 300 + b"]" * 300 + b"]}", 400, None),
    ],
)
def test_bad_bodies_are_refused_by_name(
    gateway: LiveServer, model: ProviderServer, content: bytes, status: int, param: str | None
) -> None:
    answer = httpx.post(
        f"{gateway.url}/v1/chat/completions", content=content, headers={"content-type": "application/json"}, timeout=PATIENCE_S
    )
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["message"] and error["param"] == param
    assert not model.bodies


def test_a_stream_that_breaks_tells_so_in_its_last_event(model: ProviderServer, start: StartServer) -> None:
    class Broken(type(OPENAI)):  # type: ignore[misc]
        def stream(self, script: Script, received: ReceivedRequest) -> Iterator[bytes]:
            yield from list(super().stream(script, received))[:2]

    with ProviderServer(Broken()) as broken:
        gateway = start(endpoints=(broken.endpoint(name="one", models={"m": "m"}),), retry_count=0)
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0, timeout=PATIENCE_S) as client:
            stream = client.chat.completions.create(model="m", messages=HI, stream=True)
            with pytest.raises(openai.APIError, match="broke off"):
                list(stream)


def test_a_reader_that_goes_away_ends_the_request_upstream_and_frees_its_slot(start: StartServer) -> None:
    going_on, gone = threading.Event(), threading.Event()

    class Endless(type(OPENAI)):  # type: ignore[misc]
        def stream(self, script: Script, received: ReceivedRequest) -> Iterator[bytes]:
            first, second, *_ = super().stream(script, received)
            yield first
            try:
                while True:
                    going_on.set()
                    yield second
            except (GeneratorExit, OSError):
                raise
            finally:
                gone.set()

    with ProviderServer(Endless()) as endless:
        endpoint = endless.endpoint(name="one", models={"m": "m"}, max_concurrency=1)
        gateway = start(endpoints=(endpoint,), retry_count=0)
        body = {"model": "m", "messages": HI, "stream": True}
        with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=body, timeout=PATIENCE_S) as response:
            assert response.status_code == 200
            next(response.iter_bytes())
            assert going_on.wait(PATIENCE_S)
        assert gone.wait(PATIENCE_S), "the endpoint's connection was cut"
        deadline = time.monotonic() + PATIENCE_S
        while httpx.get(f"{gateway.url}/api/v1/endpoints", timeout=PATIENCE_S).json()["data"][0]["in_flight"]:
            assert time.monotonic() < deadline, "the slot was not given back"


def test_another_endpoint_answers_without_the_client_noticing(model: ProviderServer, start: StartServer) -> None:
    model.answer = OPENAI.fail(FailureKind.SERVER)
    with ProviderServer(OPENAI) as well:
        endpoints = (model.endpoint(name="ill", models={"m": "m"}), well.endpoint(name="well", priority=1, models={"m": "m"}))
        gateway = start(endpoints=endpoints)
        answer = httpx.post(f"{gateway.url}/v1/chat/completions", json={"model": "m", "messages": HI}, timeout=PATIENCE_S)
    assert answer.status_code == 200
    assert answer.headers["x-roadbalancer-endpoint"] == "well"
    assert answer.headers["x-roadbalancer-attempts"] == "2"


def test_a_full_fleet_says_so_after_the_queue_wait(
    model: ProviderServer, start: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producer_api.app.QUEUE_WAIT", 0.2)
    answer_now = threading.Event()
    model.answer = held(answer_now)
    gateway = start(endpoints=(model.endpoint(name="one", models={"m": "m"}, max_concurrency=1),), retry_count=0)
    body = {"model": "m", "messages": HI}
    first: list[httpx.Response] = []
    caller = threading.Thread(
        target=lambda: first.append(httpx.post(f"{gateway.url}/v1/chat/completions", json=body, timeout=PATIENCE_S))
    )
    caller.start()
    deadline = time.monotonic() + PATIENCE_S
    while not model.received:
        assert time.monotonic() < deadline
    answer = httpx.post(f"{gateway.url}/v1/chat/completions", json=body, timeout=PATIENCE_S)
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "fleet_full"
    assert int(answer.headers["retry-after"]) >= 1
    answer_now.set()
    caller.join(PATIENCE_S)
    assert first[0].status_code == 200
