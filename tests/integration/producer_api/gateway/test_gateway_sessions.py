"""The chat API: one turn with its whole context, and whose key is used."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis as sync_redis
from live_server import PATIENCE_S, LiveServer, StartServer

from balancer.outcome import FailureKind
from tests.fake_providers import FAKE_PROVIDERS, Ending, ProviderServer, Reply, Script, Text, Turn
from tests.fake_providers.base import KEY

OPENAI = FAKE_PROVIDERS["openai"]
CALLERS_KEY = "sk-a-callers-own-key-0123456789"


@pytest.fixture
def model() -> Iterator[ProviderServer]:
    with ProviderServer(OPENAI) as server:
        yield server


@pytest.fixture
def gateway(model: ProviderServer, start: StartServer) -> LiveServer:
    return start(endpoints=(model.endpoint(name="one", models={"m": "m"}),), retry_count=0)


def ask(gateway: LiveServer, **fields: Any) -> httpx.Response:
    body = {"user_message": "What now?", "free_mode": True, **fields}
    return httpx.post(f"{gateway.url}/api/v1/chat", json=body, timeout=PATIENCE_S)


def test_the_whole_context_becomes_one_request(gateway: LiveServer, model: ProviderServer) -> None:
    answer = ask(
        gateway,
        session_id="s-1",
        system_message="You are a guide.",
        role="guide",
        instructions="Be brief.",
        conversation_history=["user: I go to Busan.", "assistant: Lovely!", "What about food?"],
        memory_context=["Vegetarian"],
        max_tokens=77,
        temperature=0.2,
    )
    assert answer.status_code == 200
    received = model.received[0]
    assert (
        received.system == "You are a guide.\n\nYour role: guide\n\nWhat you remember:\n- Vegetarian\n\nInstructions: Be brief."
    )
    assert received.turns == (
        Turn("user", (Text("I go to Busan."),)),
        Turn("assistant", (Text("Lovely!"),)),
        Turn("user", (Text("What about food?"),)),
        Turn("user", (Text("What now?"),)),
    )
    assert (received.max_tokens, received.temperature) == (77, 0.2)
    script = answer.json()
    assert script.pop("created_at").endswith("+00:00")
    assert script.pop("response_time") > 0
    assert script == {
        "session_id": "s-1",
        "response_text": Script().text,
        "model": "m",
        "input_tokens": 12,
        "output_tokens": 7,
        "total_tokens_used": 19,
        "output_format": "text",
        "temperature": 0.2,
        "instructions": "Be brief.",
        "success": True,
        "error_message": None,
        "api_key_source": "server",
    }


def test_defaults(gateway: LiveServer, model: ProviderServer) -> None:
    answer = ask(gateway).json()
    assert answer["session_id"].startswith("session_")
    assert (model.received[0].max_tokens, model.received[0].temperature, model.received[0].system) == (1000, 0.7, "")


def test_a_refusal_is_no_success(gateway: LiveServer, model: ProviderServer) -> None:
    model.answer = Script("", ending=Ending.REFUSAL)
    answer = ask(gateway)
    assert answer.status_code == 200
    assert answer.json()["success"] is False and answer.json()["error_message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"user_message": ""}, "user_message"),
        ({"user_message": None}, "user_message"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"conversation_history": "hello"}, "conversation_history"),
        ({"conversation_history": ["a", 5]}, "conversation_history[1]"),
    ],
)
def test_bad_fields_are_named(gateway: LiveServer, fields: dict[str, Any], param: str) -> None:
    answer = ask(gateway, **fields)
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == param


def test_null_is_left_out_and_further_fields_are_passed_over(gateway: LiveServer, model: ProviderServer) -> None:
    optional = ("session_id", "system_message", "role", "instructions", "conversation_history", "memory_context", "max_tokens",
                "temperature", "model", "openai_api_key")  # fmt: skip
    asked = {"user_message": "Hi", "free_mode": True, "colour": "red", **dict.fromkeys(optional)}
    answer = httpx.post(f"{gateway.url}/api/v1/chat", json=asked, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    assert answer.json()["temperature"] == 0.7


def test_without_free_mode_a_key_must_come_with_the_request(gateway: LiveServer, model: ProviderServer) -> None:
    answer = ask(gateway, free_mode=False)
    assert answer.status_code == 401
    assert answer.json()["error"]["param"] == "openai_api_key"
    assert not model.bodies


@pytest.mark.parametrize("key", ["nonsense", "sk-short", "sk-" + "x" * 500, "sk-with spaces 0123456789", "sk-é" + "x" * 30])
def test_what_has_not_the_form_of_a_key_is_not_used(gateway: LiveServer, model: ProviderServer, key: str) -> None:
    answer = ask(gateway, openai_api_key=key)
    assert answer.status_code == 401
    assert key not in answer.text
    assert not model.bodies


def test_callers_keys_go_to_no_endpoint_that_is_not_openai(gateway: LiveServer, model: ProviderServer) -> None:
    answer = ask(gateway, openai_api_key=CALLERS_KEY)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "not_configured"
    assert not model.bodies


@pytest.fixture
def open_to_keys(start: StartServer) -> Iterator[tuple[LiveServer, list[str]]]:
    """A gateway whose endpoint takes callers' keys, and the keys that the endpoint saw."""
    seen: list[str] = []

    class Noting(type(OPENAI)):  # type: ignore[misc]
        def read_request(self, path: str, headers: Any, body: bytes) -> Any:
            seen.append(headers["authorization"].removeprefix("Bearer "))
            return super().read_request(path, {**headers, "authorization": f"Bearer {KEY}"}, body)

    with ProviderServer(Noting()) as server:
        endpoint = server.endpoint(name="one", models={"m": "m"}, options={"caller_keys": "accept"})
        gateway = start(endpoints=(endpoint,), retry_count=0)
        gateway.model = server  # type: ignore[attr-defined]
        yield gateway, seen


def test_a_callers_key_is_used_for_its_request_alone(open_to_keys: tuple[LiveServer, list[str]]) -> None:
    gateway, seen = open_to_keys
    own = ask(gateway, openai_api_key=CALLERS_KEY, free_mode=False)
    assert own.json()["api_key_source"] == "user"
    assert ask(gateway).json()["api_key_source"] == "server"
    assert seen == [CALLERS_KEY, KEY]


def test_a_callers_key_that_is_refused_is_reported_and_leaves_no_trace(
    open_to_keys: tuple[LiveServer, list[str]], redis_url: str, store_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gateway, _ = open_to_keys
    gateway.model.answer = OPENAI.fail(FailureKind.AUTHENTICATION)  # type: ignore[attr-defined]
    refused = ask(gateway, openai_api_key=CALLERS_KEY)
    assert refused.status_code == 401
    endpoints = httpx.get(f"{gateway.url}/api/v1/endpoints", timeout=PATIENCE_S).json()["data"]
    assert endpoints[0]["usable"], "the server's own key may be as good as ever"
    with sync_redis.Redis.from_url(redis_url) as client:
        held = [client.dump(key) or b"" for key in client.scan_iter()]
    stored = [path.read_bytes() for path in store_folder.rglob("*") if path.is_file()]
    script = [refused.content, json.dumps(endpoints).encode(), caplog.text.encode()]
    assert not any(CALLERS_KEY.encode() in each for each in (*held, *stored, *script))


def test_when_everything_fails_the_error_lists_the_attempts(model: ProviderServer, start: StartServer) -> None:
    model.answer = Reply(500, b'{"error": {"message": "broken", "type": "server_error"}}')
    gateway = start(endpoints=(model.endpoint(name="first"), model.endpoint(name="second")), retry_count=1)
    answer = ask(gateway, model="m")
    assert answer.status_code == 500
    message = answer.json()["error"]["message"]
    assert "first" in message and "second" in message


@pytest.mark.parametrize("kind", [FailureKind.AUTHENTICATION, FailureKind.QUOTA, FailureKind.RATE_LIMIT])
def test_what_is_wrong_with_a_callers_key_rests_the_endpoint_for_no_other(
    open_to_keys: tuple[LiveServer, list[str]], kind: FailureKind
) -> None:
    gateway, _ = open_to_keys
    gateway.model.answer = OPENAI.fail(kind)  # type: ignore[attr-defined]
    assert ask(gateway, openai_api_key=CALLERS_KEY).status_code >= 400
    assert httpx.get(f"{gateway.url}/api/v1/endpoints", timeout=PATIENCE_S).json()["data"][0]["usable"]


def test_a_key_that_an_endpoint_quotes_is_not_passed_on(open_to_keys: tuple[LiveServer, list[str]]) -> None:
    gateway, _ = open_to_keys
    quoted = {"error": {"message": f"odd header: Authorization: Bearer {CALLERS_KEY}", "type": "server_error"}}
    gateway.model.answer = Reply(500, json.dumps(quoted).encode())  # type: ignore[attr-defined]
    assert CALLERS_KEY not in ask(gateway, openai_api_key=CALLERS_KEY).text
