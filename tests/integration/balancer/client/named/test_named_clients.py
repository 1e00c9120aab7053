"""Named clients against servers with their providers' formats."""

import pickle
from typing import Any

import pytest

from api_roadbalancer.processes.ports import free_port
from balancer import (
    APIConnectionError,
    ConfigurationError,
    LLMError,
    LLMRegistry,
    LLMServiceUnavailableError,
    RateLimitError,
    get_llm_client,
    registry,
)
from balancer.client.named import ClaudeClient, GeminiClient, LLMClient, OpenAIClient
from balancer.outcome import FailureKind
from tests.fake_providers import ProviderServer
from tests.fake_providers.base import KEY

CLASSES: dict[str, type[LLMClient]] = {"openai": OpenAIClient, "claude": ClaudeClient, "gemini": GeminiClient}
Named = tuple[str, ProviderServer]


def client_of(named: Named, **settings: Any) -> LLMClient:
    name, server = named
    endpoint = server.endpoint(name="one")
    return CLASSES[name](url=endpoint.url, api_key=KEY, options=dict(endpoint.options), **settings)


def temperature_for(named: Named, temperature: float) -> float | None:
    """Claude's models refuse a temperature, so that it is not sent there."""
    return None if named[0] == "claude" else temperature


async def test_a_client_answers_with_its_defaults(named: Named) -> None:
    async with client_of(named) as client:
        answer = await client.ainvoke([{"role": "user", "content": "Hi"}])
    [received] = named[1].received
    assert answer.content and answer.usage is not None and answer.usage.prompt > 0
    assert (received.max_tokens, received.temperature) == (1_500, temperature_for(named, 0.7))


async def test_a_client_streams(named: Named) -> None:
    async with client_of(named) as client:
        pieces = [chunk async for chunk in client.astream("Hi")]
        whole = await client.ainvoke("Hi")
    assert len(pieces) > 1 and "".join(piece.content for piece in pieces) == whole.content


async def test_messages_of_langchain_and_pairs_are_taken(named: Named) -> None:
    from langchain_core.messages import HumanMessage, SystemMessage

    async with client_of(named) as client:
        await client.ainvoke([SystemMessage("Be brief."), HumanMessage("Hi")])
        await client.ainvoke([("system", "Be brief."), ("human", "Hi")])
        with pytest.raises(TypeError, match=r"messages\[1\] is a int"):
            await client.ainvoke(["Hi", 5])
    first, second = named[1].received
    assert first.system == second.system == "Be brief." and first.turns == second.turns


async def test_the_environment_sets_what_is_not_given(named: Named, monkeypatch: pytest.MonkeyPatch) -> None:
    for setting, value in (("TEMPERATURE", "0.1"), ("MAX_TOKENS", "99"), ("TIMEOUT", "7"), ("MODEL", "its-model")):
        monkeypatch.setenv(f"{named[0].upper()}_{setting}", value)
    async with client_of(named, temperature=0.3) as client:
        await client.ainvoke("Hi")
        await client.ainvoke("Hi", max_tokens=5)
    first, second = named[1].received
    assert (client.temperature, client.max_tokens, client.timeout, client.model) == (0.3, 99, 7.0, "its-model")
    assert (first.model, first.temperature) == ("its-model", temperature_for(named, 0.3))
    assert (first.max_tokens, second.max_tokens) == (99, 5)


@pytest.mark.parametrize(
    ("variable", "value"), [("TEMPERATURE", "warm"), ("TEMPERATURE", "3"), ("MAX_TOKENS", "0"), ("TIMEOUT", "nan")]
)
def test_a_variable_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(f"GEMINI_{variable}", value)
    with pytest.raises(ConfigurationError, match=f"environment: GEMINI_{variable}: .*{value}"):
        GeminiClient(api_key=KEY)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FailureKind.RATE_LIMIT, RateLimitError),
        (FailureKind.OVERLOADED, LLMServiceUnavailableError),
        (FailureKind.SERVER, LLMServiceUnavailableError),
        (FailureKind.AUTHENTICATION, LLMError),
    ],
)
async def test_failures_are_errors_of_their_kind(named: Named, kind: FailureKind, error: type[LLMError]) -> None:
    refused = named[1].fake.fail(kind)
    if refused is None:
        pytest.skip("the service has no such answer")
    named[1].answer = refused
    async with client_of(named) as client:
        with pytest.raises(error) as caught:
            await client.ainvoke("Hi")
        with pytest.raises(error):
            _ = [chunk async for chunk in client.astream("Hi")]
    assert type(caught.value) is error and caught.value.kind is kind and caught.value.status and len(caught.value.attempts) == 1
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.kind, copy.status, copy.attempts, str(copy)) == (
        kind,
        caught.value.status,
        caught.value.attempts,
        str(caught.value),
    )


async def test_no_answer_is_a_connection_error(named: Named) -> None:
    async with CLASSES[named[0]](url=f"http://127.0.0.1:{free_port()}/v1", api_key=KEY) as client:
        with pytest.raises(APIConnectionError) as caught:
            await client.ainvoke("Hi")
    assert caught.value.kind is FailureKind.CONNECTION and caught.value.status is None


async def test_a_loop_over_names_goes_on_to_the_one_that_answers(named: Named, monkeypatch: pytest.MonkeyPatch) -> None:
    """As programs write it: names in turn, errors caught by kind."""
    own = LLMRegistry()
    for name in CLASSES:
        own.register(name, CLASSES[name])
    monkeypatch.setenv(f"{named[0].upper()}_API_KEY", KEY)
    tried = []
    for name in ["gemini", "openai", "claude"]:
        client = own.create_client(name) if name != named[0] else client_of(named)
        if client is None:
            continue
        tried.append(name)
        try:
            answer = await client.ainvoke("Hi")
            break
        except RateLimitError:
            continue
        except APIConnectionError:
            continue
        finally:
            await client.aclose()
    assert tried == [named[0]] and answer.content


def test_a_registry_gives_one_client_a_name_and_none_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    own = LLMRegistry()
    own.register("openai", OpenAIClient)
    own.register("gemini", GeminiClient)
    assert own.get_client("openai") is None and own.get_client_with_fallback() is None and own.get_available_clients() == []
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert own.get_available_clients() == ["openai"]
    assert own.get_client_with_fallback(["claude", "gemini", "openai"]) is own.get_client("openai")
    assert own.create_client("openai") is not own.get_client("openai")

    class Replacement(OpenAIClient):
        """A class of one's own."""

    own.register("openai", Replacement)
    assert type(own.get_client("openai")) is Replacement
    with pytest.raises(ConfigurationError, match="there is no such client; there are openai, gemini"):
        own.get_client("mistral")
    with pytest.raises(ConfigurationError, match="client: temperature: 9 is not between 0 and 2"):
        own.create_client("openai", temperature=9)


def test_the_registry_of_the_process_has_the_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_clients", {})
    with pytest.raises(ConfigurationError, match="CLAUDE_API_KEY or ANTHROPIC_API_KEY: is not set"):
        get_llm_client("claude")
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    assert get_llm_client("claude") is get_llm_client("claude")
