"""The keys that say how an endpoint is spoken to: provider, options, drop_params, models."""

from pathlib import Path

import pytest

from balancer.configuration import dump_configuration, load_configuration
from balancer.configuration.validation import checked_endpoints
from balancer.endpoint import AutoConcurrency, Endpoint, covers
from balancer.errors import ConfigurationError

KEYS = """
endpoints:
  - {url: 'http://gpu1:8000/v1', provider: vllm}
  - {provider: anthropic, api_key: k, drop_params: true, options: {version: 2023-06-01, max_tokens: 4096}}
  - {provider: laas, options: {project: P1, hash: h}, models: {preset: ''}}
  - {url: 'https://generativelanguage.googleapis.com/v1beta/'}
  - {url: 'https://generativelanguage.googleapis.com/v1beta/openai', name: compatible}
  - {provider: openai, options: {api: responses}, models: [gpt-5.4-mini, 'gpt-*']}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "fleet.yaml"


def test_providers_fill_in_addresses_and_addresses_providers(config: Path) -> None:
    config.write_text(KEYS)
    loaded = load_configuration(config, {})
    assert [(e.provider, e.url, e.name) for e in loaded.endpoints] == [
        ("vllm", "http://gpu1:8000/v1", "gpu1:8000"),
        ("anthropic", "https://api.anthropic.com/v1", "api.anthropic.com"),
        ("laas", "https://api-laas.wanted.co.kr/api/preset/v2", "api-laas.wanted.co.kr"),
        ("gemini", "https://generativelanguage.googleapis.com/v1beta", "generativelanguage.googleapis.com"),
        ("openai", "https://generativelanguage.googleapis.com/v1beta/openai", "compatible"),
        ("openai", "https://api.openai.com/v1", "api.openai.com"),
    ]
    assert loaded.endpoints[1].drop_params and not loaded.endpoints[0].drop_params
    assert loaded.endpoints[1].options == {"version": "2023-06-01", "max_tokens": "4096"}  # YAML's date and number as text
    assert loaded.endpoints[5].models == {"gpt-5.4-mini": "gpt-5.4-mini", "gpt-*": "gpt-*"}


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        ("", AutoConcurrency()),
        (", max_concurrency: auto", AutoConcurrency(32, 1024)),
        (", max_concurrency: {auto: {}}", AutoConcurrency(32, 1024)),
        (", max_concurrency: {auto: {max: 16}}", AutoConcurrency(16, 16)),
        (", max_concurrency: {auto: {start: 8, max: 256}}", AutoConcurrency(8, 256)),
        (", max_concurrency: 64", 64),
    ],
)
def test_a_limit_is_a_number_or_finds_itself(given: str, limit: AutoConcurrency | int, config: Path) -> None:
    config.write_text(f"endpoints: [{{url: 'http://gpu1:8000/v1'{given}}}]")
    loaded = load_configuration(config, {})
    assert loaded.endpoints[0].max_concurrency == limit
    config.write_text(dump_configuration(loaded))
    assert load_configuration(config, {}) == loaded


def test_a_dumped_configuration_keeps_them(config: Path) -> None:
    config.write_text(KEYS)
    loaded = load_configuration(config, {})
    config.write_text(dump_configuration(loaded))
    assert load_configuration(config, {}) == loaded


@pytest.mark.parametrize(
    ("entry", "path", "reason"),
    [
        ("provider: vllm", "url", "vllm has no address of its own"),
        ("name: x", "url", "unless `provider` names one"),
        ("provider: laas", "options.project", "laas needs this"),
        ("provider: laas, options: {projct: x}", "options.projct", "unknown option; laas has project, hash"),
        ("provider: laas, options: {project: ''}", "options.project", "laas needs this"),
        ("provider: gemini, options: {api: chat}", "options.api", "unknown option; gemini has none"),
        ("provider: anthropic, options: {version: true}", "options.version", "string"),
        ("provider: anthropic, options: {version: [1]}", "options.version", "string"),
        ("provider: openai, options: responses", "options", "dictionary"),
        ("url: 'http://h', drop_params: perhaps", "drop_params", "perhaps"),
        ("url: 'http://h', models: {'gpt-*': gpt-5}", "models.gpt-*", "stands for itself"),
        ("url: 'http://h', provider: vllm, batch: true", "batch", "vllm has no batch API"),
        ("provider: openrouter, batch: true", "batch", "openrouter has no batch API"),
        ("provider: openai, price_class: batch", "price_class", "for endpoints that have `batch: true`"),
        ("provider: openai, queued_tokens: 1000", "queued_tokens", "for endpoints that have `batch: true`"),
    ],
)
def test_what_a_provider_cannot_use_is_refused_by_its_path(config: Path, entry: str, path: str, reason: str) -> None:
    config.write_text(f"endpoints: [{{url: 'http://first'}}, {{{entry}}}]")
    with pytest.raises(ConfigurationError) as refused:
        load_configuration(config, {})
    assert (refused.value.source, refused.value.path) == (str(config), f"endpoints[1].{path}")
    assert reason in refused.value.reason


def test_the_value_of_an_option_is_not_shown(config: Path) -> None:
    config.write_text("endpoints: [{provider: laas, options: {project: P, secret: sk-very-secret}}]")
    with pytest.raises(ConfigurationError) as refused:
        load_configuration(config, {})
    assert "sk-very-secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        (Endpoint("http://h", provider="laas"), "options.project"),
        (Endpoint("http://h", provider="vllm", options={"speed": "x"}), "options.speed"),
        (Endpoint("http://h", options={"api": 1}), "options.api"),  # type: ignore[dict-item]
        (Endpoint("http://h", models={"gpt-*": "x"}), "models.gpt-*"),
    ],
)
def test_endpoints_of_a_program_are_checked_likewise(endpoint: Endpoint, path: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        checked_endpoints([endpoint])
    assert refused.value.path == path


@pytest.mark.parametrize(
    ("models", "model", "covered"),
    [
        ({"a": "b"}, "a", True),
        ({"a": "b"}, "b", False),  # the upstream's name is no alias
        ({"gpt-*": "gpt-*"}, "gpt-6-astra", True),
        ({"gpt-*": "gpt-*"}, "my-gpt-6", False),
        ({"*": "*"}, "anything", True),
        ({"gpt": "gpt"}, "gpt-6", False),  # no pattern without a star
        ({}, "a", False),
    ],
)
def test_a_star_at_the_end_covers_what_begins_so(models: dict[str, str], model: str, covered: bool) -> None:
    assert covers(models, model) is covered
