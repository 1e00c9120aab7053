"""`ChatService` in a program: the same turns as `/api/v1/chat`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from balancer import ChatConfigurationError, ChatRequest, ChatService, ChatServiceError, ChatUpstreamError, ChatValidationError
from balancer.configuration import Configuration
from balancer.configuration.values import CacheSettings, ChatDefaults
from balancer.outcome import FailureKind
from tests.fake_providers import FAKE_PROVIDERS, ProviderServer
from tests.fake_providers.base import KEY

CALLERS_KEY = "sk-a-callers-own-key-0123456789"


@pytest.fixture
def model() -> Iterator[ProviderServer]:
    with ProviderServer(FAKE_PROVIDERS["openai"]) as server:
        yield server


def configured(model: ProviderServer, **fields: Any) -> Configuration:
    return Configuration(endpoints=(model.endpoint(name="one", models={"m": "m", "other": "other"}),), retry_count=0, **fields)


def turn(**fields: Any) -> ChatRequest:
    return ChatRequest(user_message="What now?", **({"free_mode": True} | fields))


async def test_a_turn_is_answered_with_the_fields_of_the_api(model: ProviderServer) -> None:
    async with ChatService(configured(model)) as service:
        answer = await service.process_chat_request(turn(session_id="s-1", role="guide", temperature=0.2, max_tokens=7))
    assert (answer.session_id, answer.success, answer.api_key_source, answer.temperature) == ("s-1", True, "server", 0.2)
    assert answer.response_text and answer.total_tokens_used == answer.input_tokens + answer.output_tokens > 0
    assert (model.received[0].system, model.received[0].max_tokens) == ("Your role: guide", 7)


async def test_the_defaults_of_the_configuration_count_where_nothing_is_given(model: ProviderServer) -> None:
    chat = ChatDefaults(model="m", system_message="Be kind.", temperature=0.1, max_tokens=50)
    async with ChatService(configured(model, chat=chat)) as service:
        answer = await service.process_chat_request(turn())
        await service.process_chat_request(turn(model="other", system_message="", temperature=0.9, max_tokens=5))
    first, second = model.received
    assert (first.model, first.system, first.temperature, first.max_tokens) == ("m", "Be kind.", 0.1, 50)
    assert (second.model, second.system, second.temperature, second.max_tokens) == ("other", "", 0.9, 5)
    assert answer.temperature == 0.1


async def test_the_environment_configures_it(model: ProviderServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLM_ENDPOINTS", model.endpoint(name="one").url)
    monkeypatch.setenv("LLM_API_KEYS", str(model.endpoint(name="one").api_key))
    for name, value in (("MODEL", "m"), ("SYSTEM_MESSAGE", "Be kind."), ("TEMPERATURE", "0.4"), ("MAX_TOKENS", "12")):
        monkeypatch.setenv(f"DEFAULT_{name}", value)
    async with ChatService() as service:
        await service.process_chat_request(turn())
    [received] = model.received
    assert (received.model, received.system, received.temperature, received.max_tokens) == ("m", "Be kind.", 0.4, 12)


async def test_the_same_turn_is_answered_once_where_answers_are_kept(model: ProviderServer) -> None:
    async with ChatService(configured(model, cache=CacheSettings())) as service:
        answers = [await service.process_chat_request(turn()) for _ in range(3)]
        await service.process_chat_request(turn(temperature=0.9))
    assert len({answer.response_text for answer in answers}) == 1 and len(model.received) == 2


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"free_mode": False}, ChatValidationError, "give a key of your own"),
        ({"openai_api_key": "hello"}, ChatValidationError, "this is no OpenAI key"),
        ({"model": "nobody-has-it"}, ChatConfigurationError, "nobody-has-it"),
    ],
)
async def test_requests_that_cannot_be_sent(
    model: ProviderServer, fields: dict[str, Any], error: type[ChatServiceError], message: str
) -> None:
    configuration = Configuration(endpoints=(model.endpoint(name="one", models={"m": "m"}),))
    async with ChatService(configuration) as service:
        with pytest.raises(error, match=message):
            await service.process_chat_request(turn(**fields))
    assert not model.received


async def test_nothing_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ChatService() as service:
        with pytest.raises(ChatConfigurationError, match="set a provider's key"):
            await service.process_chat_request(turn())


async def test_a_failure_of_the_provider_has_its_kind(model: ProviderServer) -> None:
    refused = model.fake.fail(FailureKind.RATE_LIMIT)
    assert refused is not None
    model.answer = refused
    async with ChatService(configured(model)) as service:
        with pytest.raises(ChatUpstreamError) as caught:
            await service.process_chat_request(turn())
    assert caught.value.kind is FailureKind.RATE_LIMIT and caught.value.status == 429 and len(caught.value.attempts) == 1


async def test_a_callers_key_goes_to_the_endpoint_that_takes_it(model: ProviderServer) -> None:
    refused = model.fake.fail(FailureKind.AUTHENTICATION)
    assert refused is not None
    keys: list[str] = []

    class Noting(type(model.fake)):  # type: ignore[misc]
        def read_request(self, path: str, headers: Any, body: bytes) -> Any:
            keys.append(headers["authorization"].removeprefix("Bearer "))
            return super().read_request(path, {**headers, "authorization": f"Bearer {KEY}"}, body)

    model.fake = Noting()
    endpoint = model.endpoint(name="one", options={"caller_keys": "accept"})
    async with ChatService(Configuration(endpoints=(endpoint,), retry_count=0)) as service:
        assert (await service.process_chat_request(turn(openai_api_key=CALLERS_KEY))).api_key_source == "user"
        assert keys == [CALLERS_KEY]
        model.answer = refused
        with pytest.raises(ChatValidationError, match="the provider refuses this key"):
            await service.process_chat_request(turn(openai_api_key=CALLERS_KEY))
