"""The handler inside LiteLLM's own functions: completion and acompletion, whole and streamed."""

import asyncio
import json
import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # before the import: it would fetch a list from the network

import httpx
import litellm
import pytest
from litellm.exceptions import MidStreamFallbackError

from laas_proxy_server import LaaSError, LaaSProxy, laas, laas_proxy
from tests.litellm.conftest import KEY
from tests.media import pdf, png

HI = [{"role": "user", "content": "Hi"}]
HEARD_HI = '{"hash": "b3f1c0"} user: Hi'


@pytest.fixture(autouse=True)
def handler(laas_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> LaaSProxy:
    """The handler, known to LiteLLM, with its settings in the environment."""
    for name, value in laas_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(litellm, "custom_provider_map", [{"provider": "laas", "custom_handler": laas_proxy}])
    return laas_proxy


def url(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{b64encode(content).decode()}"


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


IMAGE = {"type": "image_url", "image_url": {"url": url("image/png", png(2, 2))}}


def test_a_blocking_call_is_answered_with_text_tokens_and_model() -> None:
    response = litellm.completion(model="laas/x", messages=HI)
    assert response.choices[0].message.content == HEARD_HI
    assert response.choices[0].finish_reason == "stop"
    assert (response.usage.prompt_tokens, response.usage.completion_tokens, response.usage.total_tokens) == (11, 5, 16)
    assert response.model == "the-preset's"


async def test_an_awaited_call_passes_on_what_replaces_the_presets_settings() -> None:
    response = await litellm.acompletion(
        model="laas/x",
        messages=HI,
        temperature=0.5,
        max_completion_tokens=9,
        response_format={"type": "json_object"},
        laas_model="gpt-5",
        service_type="OPENAI",
        params={"name": "Kim"},
    )
    assert json.loads(response.choices[0].message.content.removesuffix(" user: Hi")) == {
        "hash": "b3f1c0",
        "temperature": 0.5,
        "max_tokens": 9,
        "response_format": {"type": "json_object"},
        "model": "gpt-5",
        "service_type": "OPENAI",
        "params": {"name": "Kim"},
    }


def test_a_blocking_stream_says_the_same_as_the_whole_answer() -> None:
    chunks = list(litellm.completion(model="laas/x", messages=HI, stream=True, stream_options={"include_usage": True}))
    assert_streamed(chunks)


async def test_an_awaited_stream_says_the_same_as_the_whole_answer() -> None:
    stream = await litellm.acompletion(model="laas/x", messages=HI, stream=True, stream_options={"include_usage": True})
    assert_streamed([chunk async for chunk in stream])


def assert_streamed(chunks: list[Any]) -> None:
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == HEARD_HI
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["stop"]
    assert [u.total_tokens for chunk in chunks if (u := getattr(chunk, "usage", None))] == [16]


@pytest.mark.parametrize(
    ("part", "heard"),
    [
        (IMAGE, f"image/png of {len(b64encode(png(2, 2)))} characters"),
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, "image at https://example.com/a.png"),
        (
            {"type": "file", "file": {"file_data": url("application/pdf", pdf())}},
            f"application/pdf of {len(b64encode(pdf()))} characters",
        ),
        (
            {"type": "document", "document_url": {"url": url("application/pdf", pdf())}},
            f"application/pdf of {len(b64encode(pdf()))} characters",
        ),
    ],
)
def test_images_and_pdfs_arrive(part: dict[str, Any], heard: str) -> None:
    response = litellm.completion(model="laas/x", messages=user({"type": "text", "text": "What?"}, part))
    assert response.choices[0].message.content.endswith(f"user: What? + {heard}")


FAILURES = [
    ({"api_key": "a-wrong-key-987654"}, "Hi", litellm.AuthenticationError),
    ({}, "fail RATE_LIMIT", litellm.RateLimitError),
    ({}, "fail OVERLOADED", litellm.ServiceUnavailableError),
    ({}, "fail TIMEOUT", litellm.Timeout),
    ({}, "fail BAD_REQUEST", litellm.BadRequestError),
    ({}, "fail SERVER", litellm.InternalServerError),
    ({"timeout": 0.3}, "wait", litellm.Timeout),
    ({"api_base": "http://127.0.0.1:9"}, "Hi", litellm.ServiceUnavailableError),  # no server there
    ({"stop": "END"}, "Hi", litellm.BadRequestError),  # LaaS can't
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fields", "text", "error"), FAILURES)
def test_a_blocking_calls_failure_is_litellms_own_exception(
    fields: dict[str, Any], text: str, error: type[Exception], stream: bool
) -> None:
    with pytest.raises(error) as caught:
        litellm.completion(model="laas/x", messages=[{"role": "user", "content": text}], stream=stream, num_retries=0, **fields)
    assert_says_no_secret(caught.value, fields, text)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fields", "text", "error"), FAILURES)
async def test_an_awaited_calls_failure_is_litellms_own_exception(
    fields: dict[str, Any], text: str, error: type[Exception], stream: bool
) -> None:
    messages = [{"role": "user", "content": text}]
    with pytest.raises((error, MidStreamFallbackError)) as caught:
        answer = await litellm.acompletion(model="laas/x", messages=messages, stream=stream, num_retries=0, **fields)
        _ = [chunk async for chunk in answer]
    # LiteLLM begins an awaited stream when it is read, and wraps what may be tried again.
    assert isinstance(getattr(caught.value, "original_exception", caught.value), error)
    assert_says_no_secret(caught.value, fields, text)


def assert_says_no_secret(error: Exception, fields: dict[str, Any], text: str) -> None:
    for secret in (fields.get("api_key", KEY), text):
        assert secret not in str(error) or secret == "Hi"


def test_too_many_images_are_refused_before_they_are_sent() -> None:
    with pytest.raises(litellm.BadRequestError, match=r"messages\[0\].content\[3\].image_url: LaaS takes at most 3 images"):
        litellm.completion(model="laas/x", messages=user(*[IMAGE] * 4))


def test_a_rate_limit_tells_how_long_to_wait() -> None:
    with pytest.raises(litellm.RateLimitError) as caught:
        litellm.completion(model="laas/x", messages=[{"role": "user", "content": "fail RATE_LIMIT"}], num_retries=0)
    assert caught.value.litellm_response_headers["retry-after"] == "7"


@pytest.mark.parametrize("name", ["LAAS_API_KEY", "LAAS_PROJECT_CODE"])
def test_what_is_missing_in_the_settings_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(litellm.AuthenticationError, match=name):
        litellm.completion(model="laas/x", messages=HI)


def test_a_preset_that_is_not_named_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAAS_PRESET_HASH")
    with pytest.raises(litellm.BadRequestError, match="hash"):
        litellm.completion(model="laas/x", messages=HI)


def test_a_sampling_field_that_laas_lacks_is_left_out_where_litellm_drops_params() -> None:
    with pytest.raises(litellm.BadRequestError, match="seed"):
        litellm.completion(model="laas/x", messages=HI, seed=1)
    assert litellm.completion(model="laas/x", messages=HI, seed=1, drop_params=True).choices[0].message.content == HEARD_HI


class Echo(httpx.BaseTransport):
    """A service that repeats the key in its error."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(403, json={"error": f"the key {request.headers['apikey']} may not do this"})


def test_a_key_that_laas_repeats_goes_no_further() -> None:
    with pytest.raises(LaaSError) as caught:
        LaaSProxy(Echo()).completion(model="x", messages=HI, model_response=litellm.ModelResponse(), optional_params={})
    assert caught.value.status_code == 403
    assert caught.value.message == "HTTP 403: the key *** may not do this"


class Counting(httpx.AsyncHTTPTransport):
    """Knows how many connections were made."""

    made = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        async def count(name: str, info: dict[str, Any]) -> None:
            self.made += name == "connection.connect_tcp.complete"

        request.extensions["trace"] = count
        return await super().handle_async_request(request)


def test_one_connection_serves_many_calls_and_each_event_loop_has_its_own() -> None:
    transport = Counting()
    handler = LaaSProxy(async_transport=transport)

    async def thrice() -> None:
        for _ in range(3):
            await handler.acompletion(model="x", messages=HI, model_response=litellm.ModelResponse(), optional_params={})
        await transport.aclose()

    asyncio.run(thrice())
    assert transport.made == 1
    asyncio.run(thrice())
    assert transport.made == 2


@pytest.fixture(scope="session", autouse=True)
def quiet() -> Iterator[None]:
    """Spare the reader LiteLLM's hints beside each expected failure."""
    litellm.suppress_debug_info = True
    yield


async def test_the_handler_can_be_called_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = LaaSProxy()
    assert proxy.completion(model="x", messages=HI).choices[0].message.content == HEARD_HI
    response = await proxy.acompletion(model="x", messages=HI, temperature=0.5)
    assert json.loads(response.choices[0].message.content.partition(" user:")[0])["temperature"] == 0.5


def test_settings_may_stand_in_a_dotenv_file(
    laas_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in laas_environment:
        monkeypatch.delenv(name)
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in laas_environment.items()))
    monkeypatch.chdir(tmp_path)
    assert laas.completion(model="x", messages=HI).choices[0].message.content == HEARD_HI


def test_what_it_does_is_logged_at_debug_without_keys_and_content(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="laas_proxy_server")
    litellm.completion(model="laas/x", messages=HI, temperature=0.5)
    with pytest.raises(litellm.exceptions.BadRequestError):
        litellm.completion(model="laas/x", messages=HI, n=2)
    logged = [record.getMessage() for record in caplog.records if record.name == "laas_proxy_server"]
    assert "/chat/completions" in logged[0] and "messages, temperature" in logged[0]
    assert "answered in" in logged[1] and "11 + 5 tokens" in logged[1]
    assert "refused before it was sent: n" in logged[2]
    assert not any(KEY in line or "Hi" in line for line in logged)
