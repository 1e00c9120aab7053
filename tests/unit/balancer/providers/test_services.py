"""Services that speak OpenAI's format with differences."""

from typing import Any

import orjson
import pytest

from balancer.endpoint import Endpoint
from balancer.providers import RequestRefused, adapter_for
from balancer.providers.openai.services import SERVICES
from balancer.providers.registry import facts_of, guess_provider

ON: dict[str, Any] = {"type": "enabled"}
HI = [{"role": "user", "content": "Hi"}]


def sent(provider: str, body: dict[str, Any], **settings: Any) -> dict[str, Any]:
    endpoint = Endpoint(facts_of(provider).default_url or "https://one.openai.azure.com", provider=provider, **settings)
    made: dict[str, Any] = orjson.loads(adapter_for(provider).call(endpoint, "/chat/completions", {"messages": HI, **body}).body)
    return made


@pytest.mark.parametrize("service", SERVICES.values(), ids=lambda service: service.name)
def test_a_service_is_known_by_its_name_and_its_address(service: Any) -> None:
    assert facts_of(service.name).default_url == service.url
    assert guess_provider(f"{service.url}/") == service.name
    assert sent(service.name, {"model": "m", "odd": 1}) == {"model": "m", "odd": 1, "messages": HI}


@pytest.mark.parametrize(
    ("provider", "body", "expected"),
    [
        ("mistral", {"max_completion_tokens": 5, "seed": 7}, {"max_tokens": 5, "random_seed": 7}),
        ("mistral", {"user": "u", "store": True, "service_tier": "auto", "cache_control": {"type": "ephemeral"}}, {}),
        ("deepseek", {"max_completion_tokens": 5, "thinking": ON}, {"max_tokens": 5, "thinking": ON}),
        ("together", {"max_completion_tokens": 5}, {"max_tokens": 5}),
        ("groq", {"max_completion_tokens": 5, "logprobs": False}, {"max_completion_tokens": 5}),
        ("openrouter", {"cache_control": {"type": "ephemeral"}}, {"cache_control": {"type": "ephemeral"}}),
        ("azure", {"model": "m", "thinking": ON | {"budget_tokens": 900}}, {"model": "m", "reasoning_effort": "low"}),
        ("azure", {"model": "m", "thinking": {"type": "disabled"}}, {"model": "m", "reasoning_effort": "none"}),
        ("azure", {"model": "m", "thinking": ON, "reasoning_effort": "max"}, {"model": "m", "reasoning_effort": "max"}),
    ],
)
def test_fields_are_put_as_the_service_takes_them(provider: str, body: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sent(provider, body) == {"messages": HI, **expected}


def test_openais_own_api_is_asked_for_an_effort() -> None:
    body = {"thinking": {"type": "enabled", "budget_tokens": 9000}}
    assert sent("openai", body) == {"messages": HI, "reasoning_effort": "high"}
    own = Endpoint("http://gpu1:8000/v1")
    assert orjson.loads(adapter_for("openai").call(own, "/chat/completions", body).body) == body  # others may know the field


@pytest.mark.parametrize(
    ("provider", "body", "param"),
    [
        ("groq", {"logprobs": True}, "logprobs"),
        ("groq", {"logit_bias": {"1": 2}}, "logit_bias"),
        ("groq", {"messages": [{"role": "user", "content": "Hi", "name": "Ann"}]}, "messages[0].name"),
        ("groq", {"thinking": {"type": "adaptive"}}, "thinking"),
        ("mistral", {"logprobs": True}, "logprobs"),
        ("azure", {}, "model"),
        ("azure", {"model": "m", "thinking": ON}, "thinking"),
    ],
)
def test_what_a_service_refuses_is_refused_by_name(provider: str, body: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        sent(provider, body)
    assert caught.value.param == param


def test_sampling_fields_may_be_dropped() -> None:
    assert sent("groq", {"logprobs": True, "top_logprobs": 2}, drop_params=True) == {"messages": HI}


def test_anthropics_fields_do_not_reach_a_strict_service() -> None:
    cached = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
    thought = {"type": "thinking", "thinking": "Well.", "signature": "s"}
    messages = [
        {"role": "user", "content": [cached]},
        {"role": "assistant", "content": "Hello", "thinking_blocks": [thought], "reasoning_content": "Well."},
        {"role": "tool", "tool_call_id": "t", "content": "no such city", "is_error": True},
    ]
    assert sent("mistral", {"messages": messages})["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "Hello"},
        {"role": "tool", "tool_call_id": "t", "content": "Error: no such city"},
    ]


@pytest.mark.parametrize(
    ("url", "options", "path"),
    [
        ("https://one.openai.azure.com", {}, "/openai/deployments/my%2Fgpt/chat/completions?api-version=2024-10-21"),
        (
            "https://one.openai.azure.com",
            {"version": "2026-01-01-preview"},
            "/openai/deployments/my%2Fgpt/chat/completions?api-version=2026-01-01-preview",
        ),
        ("https://one.openai.azure.com/openai/v1", {}, "/chat/completions"),
    ],
)
def test_azure_has_the_deployment_in_its_path(url: str, options: dict[str, str], path: str) -> None:
    endpoint = Endpoint(url, provider="azure", models={"gpt": "my/gpt"}, api_key="k", options=options)
    adapter = adapter_for("azure")
    call = adapter.call(endpoint, "/chat/completions", {"model": "gpt", "messages": HI})
    assert call.path == path
    assert adapter.headers(endpoint) == {"content-type": "application/json", "api-key": "k"}
    body = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}'
    assert adapter.answer(call, 200, {}, body).failure is None


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://one.openai.azure.com", "azure"),
        ("https://one.openai.azure.com/openai/v1", "openai"),  # which it speaks there
        ("https://openai.azure.com.example.com", "openai"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "openai"),
    ],
)
def test_an_address_tells_the_provider(url: str, provider: str) -> None:
    assert guess_provider(url) == provider
