"""A LiteLLM proxy's configuration is read as far as it can be honoured, and the rest is reported."""

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from configuration_file import load

from balancer.configuration import Configuration, dump_configuration
from balancer.endpoint import Endpoint, Price
from balancer.errors import ConfigurationError
from balancer.routing import BalancingStrategy

SECRET = "sk-very-secret-0123456789"
OPENAI = "https://api.openai.com/v1"


def load_entries(config: Path, *entries: tuple[str, dict[str, Any]], env: dict[str, str] | None = None) -> Configuration:
    """Load a file with entries of a model name and parameters each."""
    listed = [{"model_name": name, "litellm_params": params} for name, params in entries]
    return load(config, yaml.safe_dump({"model_list": listed}), **(env or {}))


# As the files in use are: two deployments behind one name, a provider that isn't there, settings of a proxy.
USUAL = """
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-5.4-mini
      api_key: os.environ/OPENAI_API_KEY
      rpm: 480
      tpm: 100000
      timeout: 300
  - model_name: gpt-4o
    litellm_params: {model: sagemaker/gpt-4o-eu, aws_region_name: os.environ/AWS_REGION}
  - model_name: llama
    litellm_params: {model: hosted_vllm/meta/Llama-8B, api_base: http://gpu1:8000/v1/, weight: 2}
  - model_name: llama
    litellm_params: {model: openai/meta/Llama-8B, api_base: http://gpu2:8000/v1, api_key: none}
    model_info: {id: gpu2, mode: chat}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-5-5, api_key: os.environ/ANTHROPIC_API_KEY}
litellm_settings: {num_retries: 3, request_timeout: 60, drop_params: true, success_callback: [langfuse], fallbacks: [{a: [b]}]}
router_settings: {routing_strategy: least-busy, redis_host: os.environ/REDIS_HOST}
general_settings: {master_key: sk-1234}
"""


def test_a_usual_file_becomes_endpoints_settings_and_notes(config: Path) -> None:
    loaded = load(config, USUAL, OPENAI_API_KEY=SECRET, ANTHROPIC_API_KEY="ak")
    gpt = {"gpt-4o": "gpt-5.4-mini"}
    llama = {"llama": "meta/Llama-8B"}
    assert loaded.endpoints == (
        Endpoint(OPENAI, "api.openai.com", models=gpt, api_key=SECRET, rpm=480, tpm=100_000, drop_params=True),
        Endpoint("http://gpu1:8000/v1", "gpu1:8000", 2.0, provider="vllm", models=llama, drop_params=True),
        Endpoint("http://gpu2:8000/v1", "gpu2:8000", models=llama, api_key="none", drop_params=True),
        Endpoint(
            "https://api.anthropic.com/v1",
            "api.anthropic.com",
            provider="anthropic",
            models={"claude": "claude-sonnet-5-5"},
            api_key="ak",
            drop_params=True,
        ),
    )
    assert (loaded.strategy, loaded.retry_count, loaded.timeout) == (BalancingStrategy.LEAST_CONNECTIONS, 3, 60.0)
    assert [note.partition(": ")[0] for note in loaded.notes] == [
        "model_list[1].litellm_params.model",
        "model_list[3].model_info.id",
        "model_list[0].litellm_params.timeout",
        "litellm_settings.success_callback",
        "litellm_settings.fallbacks",
        "router_settings.redis_host",
        "general_settings",
    ]
    assert "'gpt-4o' is left out: the provider 'sagemaker' is not supported" in loaded.notes[0]
    assert "sk-1234" not in "".join(loaded.notes)


def test_the_notes_are_logged_once_each(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        loaded = load(config, USUAL, OPENAI_API_KEY=SECRET, ANTHROPIC_API_KEY="ak")
    assert [record.getMessage() for record in caplog.records] == [f"{config}: {note}" for note in loaded.notes]


def test_what_has_been_read_can_be_dumped_and_read_again(config: Path) -> None:
    loaded = load(config, USUAL, OPENAI_API_KEY=SECRET, ANTHROPIC_API_KEY="ak")
    again = load(config, dump_configuration(loaded))
    assert (again.endpoints, again.timeout, again.notes) == (loaded.endpoints, loaded.timeout, ())


def test_a_deployment_at_azure_keeps_its_version(config: Path) -> None:
    params = {"model": "azure/gpt-eu", "api_base": "https://x.openai.azure.com", "api_key": "k", "api_version": "2026-01-01"}
    (endpoint,) = load_entries(config, ("gpt", params)).endpoints
    assert endpoint == Endpoint(
        "https://x.openai.azure.com",
        "x.openai.azure.com",
        provider="azure",
        models={"gpt": "gpt-eu"},
        api_key="k",
        options={"version": "2026-01-01"},
    )


def test_a_model_at_bedrock_is_asked_in_its_region(config: Path) -> None:
    params = {"model": "bedrock/converse/amazon.nova-pro-v1:0", "aws_region_name": "eu-west-1", "aws_session_name": "s"}
    loaded = load_entries(config, ("nova", params))
    assert loaded.endpoints == (
        Endpoint(
            "https://bedrock-runtime.eu-west-1.amazonaws.com",
            "bedrock-runtime.eu-west-1.amazonaws.com",
            provider="bedrock",
            models={"nova": "amazon.nova-pro-v1:0"},
            options={"region": "eu-west-1"},
        ),
    )
    assert loaded.notes == ("model_list[0].litellm_params.aws_session_name: has no counterpart here",)


def test_parameters_arrive_where_they_belong(config: Path) -> None:
    params = {
        "model": "openai/gpt-x",
        "base_url": "http://h/v1",
        "order": 2,
        "max_parallel_requests": 7,
        "max_tokens": 100,
        "temperature": 0.5,
        "input_cost_per_token": 0.000002,
        "output_cost_per_token": 0.00001,
        "drop_params": False,
        "api": "responses",
    }
    (endpoint,) = load_entries(config, ("m", params)).endpoints
    assert endpoint == Endpoint(
        "http://h/v1",
        "h",
        models={"m": "gpt-x"},
        priority=1,
        max_concurrency=7,
        max_tokens=100,
        temperature=0.5,
        price=Price(2.0, 10.0),
        options={"api": "responses"},
    )


@pytest.mark.parametrize(
    ("model", "params", "provider", "url", "upstream"),
    [
        ("gpt-6-astra", {}, "openai", OPENAI, "gpt-6-astra"),  # no prefix: LiteLLM knows it for OpenAI's
        ("claude-opus-5-5", {}, "anthropic", "https://api.anthropic.com/v1", "claude-opus-5-5"),
        ("gemini/gemini-3.8-flash", {}, "gemini", "https://generativelanguage.googleapis.com/v1beta", "gemini-3.8-flash"),
        ("vllm/a/b", {"api_base": "http://h/v1"}, "vllm", "http://h/v1", "a/b"),
        ("openai/responses/gpt-x", {}, "openai", OPENAI, "gpt-x"),
        ("anthropic/c", {"api_base": "http://h"}, "anthropic", "http://h/v1", "c"),  # LiteLLM adds /v1/messages
        ("anthropic/c", {"api_base": "http://h/v1/"}, "anthropic", "http://h/v1", "c"),
        ("anthropic/c", {"api_base": "http://h/v1/messages"}, "anthropic", "http://h/v1", "c"),
        ("laas/any-name", {"project": "os.environ/P"}, "laas", "https://api-laas.wanted.co.kr/api/preset/v2", ""),
    ],
)
def test_a_model_names_its_provider(config: Path, model: str, params: Any, provider: str, url: str, upstream: str) -> None:
    (endpoint,) = load_entries(config, ("m", {"model": model, **params}), env={"P": "P1"}).endpoints
    assert (endpoint.provider, endpoint.url, endpoint.models) == (provider, url, {"m": upstream})
    if provider == "laas":
        assert endpoint.options == {"project": "P1"}
    if "responses" in model:
        assert endpoint.options == {"api": "responses"}


@pytest.mark.parametrize(
    ("name", "params", "note"),
    [
        ("m", {"model": "sagemaker/x"}, "litellm_params.model: 'm' is left out: the provider 'sagemaker' is not supported"),
        ("m", {"model": "mistral-large"}, "says no provider; write provider/mistral-large"),
        ("m", {"model": "hosted_vllm/x"}, "litellm_params.api_base: 'm' is left out: is needed"),
        ("all/*", {"model": "openai/*"}, "a pattern has to be the same on both sides"),
        ("m", {"model": "openai/*"}, "a pattern has to be the same on both sides"),
        ("*-x", {"model": "openai/*-x"}, "with * at its end"),
    ],
)
def test_an_entry_that_cannot_be_used_is_left_out_and_reported(config: Path, name: str, params: Any, note: str) -> None:
    loaded = load_entries(config, (name, params), ("good", {"model": "openai/gpt-x"}))
    assert [list(e.models) for e in loaded.endpoints] == [["good"]]
    assert len(loaded.notes) == 1 and loaded.notes[0].startswith("model_list[0].") and note in loaded.notes[0]


def test_what_is_not_chat_is_left_out(config: Path) -> None:
    text = "model_list: [{model_name: e, litellm_params: {model: openai/e}, model_info: {mode: embedding}}, "
    loaded = load(config, text + "{model_name: m, litellm_params: {model: openai/m}}]")
    assert [list(e.models) for e in loaded.endpoints] == [["m"]]
    assert loaded.notes == ("model_list[0].model_info.mode: 'e' is left out: only chat is balanced, not 'embedding'",)


@pytest.mark.parametrize("pattern", ["*", "gpt-*"])
def test_a_pattern_that_is_sent_as_it_is_can_be_used(config: Path, pattern: str) -> None:
    (endpoint,) = load_entries(config, (pattern, {"model": f"openai/{pattern}"})).endpoints
    assert endpoint.models == {pattern: pattern}


def test_the_key_of_the_environment_goes_to_the_providers_own_address_only(config: Path) -> None:
    own, other = load_entries(
        config,
        ("a", {"model": "openai/a"}),
        ("b", {"model": "openai/b", "api_base": "http://other/v1"}),
        env={"OPENAI_API_KEY": SECRET},
    ).endpoints
    assert (own.api_key, other.api_key) == (SECRET, None)


@pytest.mark.parametrize(
    ("first", "second", "endpoints"),
    [
        (("a", {}), ("b", {}), [{"a": "x", "b": "x"}]),  # nothing but the name is different
        (("a", {}), ("a", {}), [{"a": "x"}, {"a": "x"}]),  # two deployments of one model share its load
        (("a", {"rpm": 5}), ("b", {"rpm": 5}), [{"a": "x"}, {"b": "x"}]),  # limits are counted for each model
        (("a", {"weight": 2}), ("b", {}), [{"a": "x"}, {"b": "x"}]),
        (("a", {"api_key": "k"}), ("b", {}), [{"a": "x"}, {"b": "x"}]),
        (("a", {"api_base": "http://h/v1"}), ("b", {}), [{"a": "x"}, {"b": "x"}]),
    ],
)
def test_models_of_one_place_become_one_endpoint(config: Path, first: Any, second: Any, endpoints: Any) -> None:
    entries = [(name, {"model": "openai/x", **params}) for name, params in (first, second)]
    assert [e.models for e in load_entries(config, *entries).endpoints] == endpoints


def test_names_are_unique_and_plain(config: Path) -> None:
    entries = [(name, {"model": "openai/x", "rpm": 1}) for name in ("a", "a", "meta/llama,8b", "y" * 80)]
    names = [e.name for e in load_entries(config, *entries, ("a", {"model": "vllm/x", "api_base": "http://h/v1"})).endpoints]
    assert names == ["a@api.openai.com", "a@api.openai.com-2", "meta-llama-8b@api.openai.com", "y" * 64, "h"]
    again = load(config, dump_configuration(load(config, config.read_text())))  # the names are ones that a file may have
    assert [e.name for e in again.endpoints] == names


@pytest.mark.parametrize(
    ("settings", "expected", "notes"),
    [
        ("", ("weighted", 2, 600.0), []),
        ("router_settings: {routing_strategy: simple-shuffle}", ("weighted", 2, 600.0), []),
        ("router_settings: {routing_strategy: cost-based-routing}", ("weighted", 2, 600.0), ["router_settings.routing_strategy"]),
        ("router_settings: {timeout: 5, num_retries: 0}", ("weighted", 0, 5.0), []),
        ("litellm_settings: {request_timeout: 9, num_retries: 4}", ("weighted", 4, 9.0), []),
        (  # the router's count
            "router_settings: {timeout: 5, num_retries: 1}\nlitellm_settings: {request_timeout: 9, num_retries: 4}",
            ("weighted", 1, 5.0),
            ["litellm_settings.num_retries", "litellm_settings.request_timeout"],
        ),
        ("timeout: 7\nstrategy: random\nrouter_settings: {timeout: 5}", ("random", 2, 7.0), []),  # the project's own keys win
        ("litellm_settings:\nrouter_settings:", ("weighted", 2, 600.0), []),
        (
            "litellm_settings: {drop_params:, cache:}\nrouter_settings: {routing_strategy:}",
            ("weighted", 2, 600.0),
            [],
        ),  # no values
        ("include: [other.yaml]\nenvironment_variables: {A: b}", ("weighted", 2, 600.0), ["include", "environment_variables"]),
    ],
)
def test_settings_are_honoured_where_there_are_such_here(config: Path, settings: str, expected: Any, notes: Any) -> None:
    loaded = load(config, f"model_list: [{{model_name: m, litellm_params: {{model: openai/x}}}}]\n{settings}")
    assert (loaded.strategy, loaded.retry_count, loaded.timeout) == expected
    assert [note.partition(": ")[0] for note in loaded.notes] == notes


def test_the_longest_timeout_of_the_entries_counts_where_no_setting_says_one(config: Path) -> None:
    loaded = load_entries(config, ("a", {"model": "openai/x", "timeout": 5}), ("b", {"model": "openai/y", "timeout": 90}))
    assert loaded.timeout == 90
    assert loaded.notes == ("model_list[0].litellm_params.timeout: there is one timeout for all endpoints, 90.0 seconds",)


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("model_list: []", "model_list", "it is empty"),
        ("model_list: {}", "model_list", "list"),
        ("model_list: [{model_name: m}]", "model_list[0].litellm_params", "required"),
        ("model_list: [{litellm_params: {model: openai/x}}]", "model_list[0].model_name", "required"),
        ("model_list: [{model_name: m, litellm_params: {model: sagemaker/x}}]", "model_list", "'sagemaker' is not supported"),
        (
            "model_list: [{model_name: m, litellm_params: {model: openai/x, rpm: 0}}]",
            "model_list[0].litellm_params.rpm",
            "greater",
        ),
        ("model_list: [{model_name: m, litellm_params: {}}]", "model_list", "says no provider"),
        (
            "model_list: [{model_name: m, litellm_params: {model: openai/x, api_base: gpu1}}]",
            "model_list[0].litellm_params.api_base",
            "http://",
        ),
        (
            "model_list: [{model_name: m, litellm_params: {model: openai/x, api_key: os.environ/NOPE}}]",
            "model_list[0].litellm_params.api_key",
            "NOPE is not set",
        ),
        (
            "model_list: [{model_name: m, litellm_params: {model: laas/x}}]",
            "model_list[0].litellm_params.project",
            "laas needs this",
        ),
        (
            "model_list: [{model_name: m, litellm_params: {model: openai/x}}]\nendpoints: []",
            "model_list",
            "either `endpoints` or LiteLLM's `model_list`",
        ),
        (
            "model_list: [{model_name: m, litellm_params: {model: openai/x}}]\nrouter_settings: {timeout: soon}",
            "router_settings.timeout",
            "soon",
        ),
        ("model_list: [{model_name: m, litellm_params: {model: openai/x}}]\nstore: ''", "store", "character"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(config: Path, text: str, path: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(config, text)
    assert (refused.value.source, refused.value.path) == (str(config), path)
    assert reason in refused.value.reason


def test_no_key_stands_in_an_error(config: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_entries(config, ("m", {"model": "openai/x", "api_key": f"{SECRET} x"}))
    assert SECRET not in str(refused.value)
