"""Balancers for a provider by its name."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from balancer import ConfigurationError, LoadBalancer, create_client, get_available_clients, get_client, get_client_with_fallback
from balancer.client import clients
from balancer.providers import register
from balancer.providers.openai.adapter import OpenAIAdapter

HI = [{"role": "user", "content": "Hi"}]
GEMINI = "generativelanguage.googleapis.com"
COMPLETION = {"id": "1", "object": "chat.completion", "created": 1, "choices": [{"index": 0, "message": {"content": "hello"}}]}


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No variable but the test's own, and no client of another test."""
    for name in list(os.environ):
        if name.startswith(("OPENAI", "CLAUDE", "ANTHROPIC", "GEMINI", "LAAS")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clients, "_cache", {})
    yield
    for client in clients._cache.values():
        client.close()


def answering(heard: list[httpx.Request], status: Callable[[httpx.Request], int] = lambda _: 200) -> httpx.MockTransport:
    """Answer as OpenAI does, and keep what was asked."""

    def answer(request: httpx.Request) -> httpx.Response:
        heard.append(request)
        return httpx.Response(status(request), json=COMPLETION if status(request) == 200 else {"error": {"message": "no"}})

    return httpx.MockTransport(answer)


def chat(client: LoadBalancer, **fields: Any) -> Any:
    with client:
        return client.chat(HI, **fields)


def test_a_client_asks_its_provider_with_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "ok")
    heard: list[httpx.Request] = []
    client = create_client("openai", transport=answering(heard), enable_health_check=False)
    assert chat(client).content == "hello"
    assert str(heard[0].url) == "https://api.openai.com/v1/chat/completions"
    assert heard[0].headers["authorization"] == "Bearer ok"
    assert b'"model":"gpt-5.4-mini"' in heard[0].read()


def test_settings_beat_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "ok")
    monkeypatch.setenv("OPENAI_MODEL", "gpt-of-the-environment")
    heard: list[httpx.Request] = []
    given: dict[str, Any] = {"api_key": "mine", "url": "http://h/v1", "model": "gpt-mine", "max_tokens": 9}
    client = create_client("openai", **given, transport=answering(heard), enable_health_check=False)
    assert chat(client).success
    assert (heard[0].url.host, heard[0].headers["authorization"]) == ("h", "Bearer mine")
    body = heard[0].read()
    assert b'"model":"gpt-mine"' in body and b'"max_tokens":9' in body


def test_other_providers_and_those_of_ones_own_have_clients_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Corporate(OpenAIAdapter):
        """A wire format of one's own."""

    register("corp-llm", Corporate)
    with pytest.raises(ConfigurationError, match="is not set; corp-llm needs CORP_LLM_API_KEY and CORP_LLM_URL"):
        create_client("corp-llm")
    for variable, value in (("API_KEY", "theirs"), ("URL", "http://corp/v1"), ("MODEL", "big")):
        monkeypatch.setenv(f"CORP_LLM_{variable}", value)
    monkeypatch.setenv("GROQ_API_KEY", "groq")
    heard: list[httpx.Request] = []
    options: dict[str, Any] = {"transport": answering(heard), "enable_health_check": False}
    assert chat(create_client("corp-llm", **options)).success
    assert (heard[0].url.host, heard[0].headers["authorization"]) == ("corp", "Bearer theirs")
    assert b'"model":"big"' in heard[0].read()
    with get_client_with_fallback(["gemini", "corp-llm", "groq"], **options) as client:
        assert [entry["name"] for entry in client.get_stats()["endpoints"]] == ["corp-llm", "groq"]


def test_a_server_of_ones_own_needs_no_key() -> None:
    heard: list[httpx.Request] = []
    assert chat(create_client("openai", url="http://h/v1", transport=answering(heard), enable_health_check=False)).success
    assert "authorization" not in heard[0].headers


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("openai", "OPENAI_API_KEY"),
        ("claude", "CLAUDE_API_KEY or ANTHROPIC_API_KEY"),
        ("anthropic", "CLAUDE_API_KEY or ANTHROPIC_API_KEY"),
        ("gemini", "GEMINI_API_KEY"),
        ("laas", "LAAS_API_KEY and LAAS_PROJECT_CODE and LAAS_PRESET_HASH"),
    ],
)
@pytest.mark.parametrize("make", [create_client, get_client, lambda name: get_client_with_fallback([name])])
def test_a_missing_key_is_named(name: str, variable: str, make: Any) -> None:
    with pytest.raises(ConfigurationError, match="environment") as refused:
        make(name)
    assert all(part in str(refused.value) for part in variable.split(" and "))


def test_an_unknown_client_differs_from_a_missing_key() -> None:
    with pytest.raises(ConfigurationError, match=r"'bard': there is no such client; there are gemini, openai, claude, laas"):
        get_client("bard")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"weight": 0}, "weight"),
        ({"options": {"speed": "x"}}, "options.speed"),
        ({"url": "gpu1"}, "url"),
    ],
)
def test_a_bad_setting_is_refused_by_its_name(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"client 'openai': {said}"):
        create_client("openai", api_key="k", **settings)


def test_laas_takes_its_project_and_preset_from_the_environment_or_from_options(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[httpx.Request] = []
    quiet: dict[str, Any] = {"transport": answering(heard), "enable_health_check": False}
    chat(create_client("laas", api_key="k", options={"project": "P", "hash": "h"}, **quiet))
    monkeypatch.setenv("LAAS_API_KEY", "ek")
    monkeypatch.setenv("LAAS_PROJECT_CODE", "EP")
    monkeypatch.setenv("LAAS_PRESET_HASH", "eh")
    chat(create_client("laas", **quiet))
    assert [(r.headers["project"], r.headers["apikey"]) for r in heard] == [("P", "k"), ("EP", "ek")]
    assert b'"hash":"eh"' in heard[1].read() and b'"model"' not in heard[1].read()


def test_available_clients_are_those_with_keys_in_the_order_of_preference(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_available_clients() == []
    for variable in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "LAAS_API_KEY"):
        monkeypatch.setenv(variable, "k")
    assert get_available_clients() == ["gemini", "openai", "claude"]  # of laas, two are missing


def test_a_client_is_kept_until_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    first = get_client("claude")
    assert get_client("anthropic") is first
    first.close()
    second = get_client("claude")
    assert second is not first and get_client("claude") is second


def test_many_threads_get_the_same_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "k")
    barrier, found = threading.Barrier(8), set()

    def get() -> None:
        barrier.wait()
        found.add(id(get_client("gemini")))

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1


def fallback(heard: list[httpx.Request], fails: Callable[[httpx.Request], int], **options: Any) -> LoadBalancer:
    return get_client_with_fallback(transport=answering(heard, fails), enable_health_check=False, **options)


@pytest.mark.parametrize("status", [500, 429, 401])
def test_a_provider_that_fails_is_followed_by_the_next(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("GEMINI_API_KEY", "k")
    heard: list[httpx.Request] = []
    result = chat(fallback(heard, lambda request: status if request.url.host == GEMINI else 200))
    assert (result.content, result.endpoint) == ("hello", "openai")
    assert [request.url.host for request in heard] == [GEMINI, "api.openai.com"]
    assert "gemini-3.8-flash" in str(heard[0].url) and b"gpt-5.4-mini" in heard[1].read()


def test_the_order_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("GEMINI_API_KEY", "k")
    heard: list[httpx.Request] = []
    assert chat(fallback(heard, lambda _: 200, preferred_order=["claude", "openai", "gemini"])).endpoint == "openai"


def test_every_provider_is_tried_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("OPENAI_API_KEY", "GEMINI_API_KEY", "CLAUDE_API_KEY", "LAAS_API_KEY", "LAAS_PROJECT_CODE", "LAAS_PRESET_HASH")
    for variable in names:
        monkeypatch.setenv(variable, "k")
    heard: list[httpx.Request] = []
    order = ["laas", "gemini", "claude", "openai"]
    assert chat(fallback(heard, lambda r: 200 if r.url.host == "api.openai.com" else 500, preferred_order=order)).success
    assert len(heard) == 4


@pytest.mark.parametrize("model", ["gpt-5.4-mini", "gpt-6-astra", "o3-pro"])  # the default; others of the provider's
def test_a_model_is_asked_of_the_provider_that_has_it(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("GEMINI_API_KEY", "k")
    heard: list[httpx.Request] = []
    assert chat(fallback(heard, lambda _: 200), model=model).success
    assert [request.url.host for request in heard] == ["api.openai.com"]
    assert model.encode() in heard[0].read()
