"""What can be set, and that everything else is refused with its place and a reason."""

from pathlib import Path
from typing import Any

import pytest
from configuration_file import load

from balancer.configuration import Configuration, HealthCheck, dump_configuration, load_configuration
from balancer.configuration.values import CacheSettings, ChatDefaults, Discovery, LogSettings
from balancer.endpoint import Endpoint, Price, default_name
from balancer.errors import ConfigurationError
from balancer.routing import BalancingStrategy

SECRET = "sk-very-secret-0123456789"


EVERYTHING = """
strategy: least_connections
timeout: 12.5
retry_count: 0
fallback_on_failure: false
health_check: {enabled: false, interval: 5}
redis_url: redis://localhost:6379/3
store: s3://bucket/prefix
cache: {entries: 10, ttl: 60}
webhooks: {private_addresses: true}
log: {format: json, level: warning, file: logs/all}
discover:
  - {dns: vllm.default.svc, port: 8000, endpoint: {models: [m], api_key: "${GPU1_KEY}"}}
  - {kubernetes: {service: vllm, namespace: gpu}, scheme: https, path: ""}
  - file: endpoints.d/*.yaml
audit: {file: logs/audit.jsonl}
chat: {model: small, system_message: Be kind., temperature: 0, max_tokens: 10}
endpoints:
  - url: http://gpu1:8000/v1/
    name: GPU-1
    weight: 2
    max_tokens: 8192
    temperature: 0.7
    provider: vllm
    models: {small: meta/llama-8b}
    api_key: ${GPU1_KEY}
    max_concurrency: 64
    priority: -1
    rpm: 600
    tpm: 200000
    price: {input: 0.5, output: 1}
  - url: https://api.openai.com/v1
    models: [gpt-4o, o3]
"""


def test_every_key_arrives_where_it_belongs(config: Path) -> None:
    loaded = load(config, EVERYTHING, GPU1_KEY=SECRET)
    first = Endpoint(
        url="http://gpu1:8000/v1",
        name="GPU-1",
        weight=2.0,
        max_tokens=8192,
        temperature=0.7,
        provider="vllm",
        models={"small": "meta/llama-8b"},
        api_key=SECRET,
        max_concurrency=64,
        priority=-1,
        rpm=600,
        tpm=200000,
        price=Price(0.5, 1.0),
    )
    second = Endpoint(url="https://api.openai.com/v1", name="api.openai.com", models={"gpt-4o": "gpt-4o", "o3": "o3"})
    assert loaded == Configuration(
        endpoints=(first, second),
        strategy=BalancingStrategy.LEAST_CONNECTIONS,
        timeout=12.5,
        retry_count=0,
        fallback_on_failure=False,
        health_check=HealthCheck(False, 5.0),
        redis_url="redis://localhost:6379/3",
        store="s3://bucket/prefix",
        chat=ChatDefaults("small", "Be kind.", 0.0, 10),
        cache=CacheSettings(10, 60.0),
        private_webhooks=True,
        log=LogSettings("json", "WARNING", "logs/all"),
        audit_file="logs/audit.jsonl",
        discover=(
            Discovery("dns", "vllm.default.svc", port=8000, endpoint={"models": ["m"], "api_key": "${GPU1_KEY}"}),
            Discovery("kubernetes", "vllm", "gpu", scheme="https", path=""),
            Discovery("file", "endpoints.d/*.yaml"),
        ),
    )


def test_only_the_url_is_required(config: Path) -> None:
    loaded = load(config, "endpoints: [{url: 'http://h/v1'}]")
    assert loaded == Configuration(endpoints=(Endpoint(url="http://h/v1", name="h"),))


def test_a_dumped_configuration_loads_as_the_same(config: Path) -> None:
    loaded = load(config, EVERYTHING, GPU1_KEY=SECRET)
    assert load(config, dump_configuration(loaded)) == loaded


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("strategies: weighted", "strategies", "unknown key"),
        ("strategy: fastest", "strategy", "least_connections"),
        ("strategy: 7", "strategy", "got 7"),
        ("timeout: 0", "timeout", "greater than 0"),
        ("timeout: -1", "timeout", "greater than 0"),
        ("timeout: soon", "timeout", "soon"),
        ("timeout: .nan", "timeout", "finite"),
        ("timeout: .inf", "timeout", "finite"),  # would overflow on the way out
        ("timeout: 1e12", "timeout", "less than"),
        ("timeout: yes", "timeout", "true or false"),  # YAML's yes is no number
        ("retry_count: 1.5", "retry_count", "1.5"),
        ("fallback_on_failure: perhaps", "fallback_on_failure", "perhaps"),
        ("health_check: true", "health_check", ""),
        ("health_check: {every: 5}", "health_check.every", "unknown key"),
        ("health_check: {interval: 0}", "health_check.interval", "0.1"),
        ("redis_url: localhost:6379", "redis_url", "redis://"),
        ("store: ''", "store", "1 character"),
        ("discover: {dns: gpus}", "discover[0]", "port"),
        ("discover: {port: 8000}", "discover[0]", "one of dns, file and kubernetes"),
        ("discover: {dns: a b, port: 8000}", "discover[0].dns", ""),
        ("discover: {file: x, endpoint: {url: 'http://h'}}", "discover[0]", "is found"),
        ("log: {format: xml}", "log.format", "json"),
        ("log: {level: loud}", "log.level", "WARNING"),
        ("audit: {path: x}", "audit.file", "required"),
        ("endpoints: {url: 'http://h'}", "endpoints", "list"),
        ("endpoints: [http://h/v1]", "endpoints[0]", ""),
        ("endpoints: [{name: x}]", "endpoints[0].url", "required"),
        ("endpoints: [{url: 'http://h'}, {url: 'ftp://h'}]", "endpoints[1].url", "http://"),
        ("endpoints: [{url: 'http://h?key=1'}]", "endpoints[0].url", "without query"),
        ("endpoints: [{url: 'http://'}]", "endpoints[0].url", "http://"),
        ("endpoints: [{url: 'http://h', wieght: 1}]", "endpoints[0].wieght", "unknown key"),
        ("endpoints: [{url: 'http://h', weight: 0}]", "endpoints[0].weight", "greater than 0"),
        ("endpoints: [{url: 'http://h', weight: .inf}]", "endpoints[0].weight", "finite"),
        ("endpoints: [{url: 'http://h', weight: true}]", "endpoints[0].weight", "true or false"),
        ("endpoints: [{url: 'http://h', max_tokens: 0}]", "endpoints[0].max_tokens", "greater than 0"),
        ("endpoints: [{url: 'http://h', temperature: 3}]", "endpoints[0].temperature", "2"),
        ("endpoints: [{url: 'http://h', max_concurrency: 0}]", "endpoints[0].max_concurrency", "greater than 0"),
        ("endpoints: [{url: 'http://h', max_concurrency: some}]", "endpoints[0].max_concurrency", "valid integer"),
        ("endpoints: [{url: 'http://h', max_concurrency: {most: 3}}]", "endpoints[0].max_concurrency", "{auto: {start: 32"),
        ("endpoints: [{url: 'http://h', max_concurrency: {auto: 3}}]", "endpoints[0].max_concurrency", "{auto: {start: 32"),
        ("endpoints: [{url: 'http://h', max_concurrency: {auto: {least: 3}}}]", "endpoints[0].max_concurrency", "no least"),
        ("endpoints: [{url: 'http://h', max_concurrency: {auto: {max: 0}}}]", "endpoints[0].max_concurrency", "from 1 to"),
        (
            "endpoints: [{url: 'http://h', max_concurrency: {auto: {start: 9, max: 8}}}]",
            "endpoints[0].max_concurrency",
            "max (8)",
        ),
        ("endpoints: [{url: 'http://h', max_concurrency: on}]", "endpoints[0].max_concurrency", "true or false"),
        ("endpoints: [{url: 'http://h', rpm: 0}]", "endpoints[0].rpm", "greater than 0"),
        ("endpoints: [{url: 'http://h', provider: bard}]", "endpoints[0].provider", "openai"),
        ("endpoints: [{url: 'http://h', models: 5}]", "endpoints[0].models", ""),
        ("endpoints: [{url: 'http://h', name: 'a,b'}]", "endpoints[0].name", "commas"),
        ("endpoints: [{url: 'http://h', name: ''}]", "endpoints[0].name", "1 to 64"),
        ("endpoints: [{url: 'http://h', price: 1}]", "endpoints[0].price", ""),
        ("endpoints: [{url: 'http://h', price: {input: 1}}]", "endpoints[0].price.output", "required"),
        ("endpoints: [{url: 'http://h', price: {input: -1, output: 1}}]", "endpoints[0].price.input", "0"),
        ("endpoints: [{url: 'http://h', price: {input: .inf, output: 1}}]", "endpoints[0].price.input", "finite"),
        ("endpoints: [{url: 'http://h', api_key: 'a b'}]", "endpoints[0].api_key", "ASCII"),
        ("endpoints: [{url: 'http://h', api_key: ключ}]", "endpoints[0].api_key", "ASCII"),
        ("endpoints: [{url: 'http://h'}, {url: 'http://h/v2'}]", "endpoints[1].name", "endpoints[0]"),
        ("endpoints: [{url: 'http://a', name: x}, {url: 'http://b', name: x}]", "endpoints[1].name", "its own"),
        ("endpoints: [{url: 'http://h', api_key: '${NOPE}'}]", "endpoints[0].api_key", "NOPE is not set"),
        ("store: ${NOPE}/x", "store", "NOPE is not set"),
        ("- a\n- b", "", "mapping"),
        ("just text", "", "mapping"),
        ("endpoints: [", "", "not valid YAML"),
        ("timeout: 1\nstrategy: random\ntimeout: 2", "", "'timeout' stands twice (line 3"),
        ("a: !!python/object:os.system {}", "", "not valid YAML"),
    ],
)
def test_what_cannot_be_used_is_refused_with_file_path_and_reason(config: Path, text: str, path: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(config, text)
    error = refused.value
    assert error.source == str(config)
    assert error.path == path
    assert reason in error.reason and error.reason
    assert str(config) in str(error)
    assert isinstance(error, ValueError)


@pytest.mark.parametrize(
    "text",
    [
        f"endpoints: [{{url: 'http://h', api_key: '{SECRET} x'}}]",  # a bad key
        f'endpoints:\n  - url: http://h\n    api_key: "{SECRET}\n',  # bad YAML in the line of the key
        f"endpoints:\n  - url: http://h\n    api_key: {SECRET}: x\n",
        f"endpoints: [{{url: 'htp://user:{SECRET}@h/v1'}}]",  # a password in an address
        f"redis_url: http://:{SECRET}@host:6379",
        f"redis_url: :{SECRET}@host:6379",
        "endpoints: [{url: 'http://h', api_key: 1234567890}]",  # a key that YAML takes for a number
    ],
)
def test_no_key_stands_in_an_error(config: Path, text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(config, text)
    error: BaseException | None = refused.value
    while error is not None:
        assert SECRET not in str(error) and "1234567890" not in str(error)
        error = error.__cause__


def test_a_key_is_not_shown_with_its_endpoint() -> None:
    assert SECRET not in repr(Endpoint("http://h", api_key=SECRET))


@pytest.mark.parametrize("key", [f"{SECRET}\n", f"  {SECRET}\t"])  # as read from a mounted secret
def test_white_space_around_a_key_is_left_out(config: Path, key: str) -> None:
    loaded = load(config, "endpoints: [{url: 'http://h', api_key: '${KEY}'}]", KEY=key)
    assert loaded.endpoints[0].api_key == SECRET


def test_an_empty_key_is_none(config: Path) -> None:
    assert load(config, "endpoints: [{url: 'http://h', api_key: '${KEY}'}]", KEY="").endpoints[0].api_key is None


def test_variables_are_filled_in_anywhere(config: Path) -> None:
    loaded = load(config, "store: ${A}/${B}\nendpoints: [{url: 'http://${A}:1/v1', models: ['${B}']}]", A="x", B="y")
    assert (loaded.store, loaded.endpoints[0].url, loaded.endpoints[0].models) == ("x/y", "http://x:1/v1", {"y": "y"})


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml: can't be read"):
        load_configuration(tmp_path / "nowhere.yaml", {})


def test_a_file_that_is_not_text_is_reported(config: Path) -> None:
    config.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="can't be read"):
        load_configuration(config, {})


def test_an_empty_file_sets_nothing(config: Path) -> None:
    assert load(config, "# nothing\n") == Configuration()


def test_nothing_at_all_is_a_configuration() -> None:
    assert load_configuration(environ={}) == Configuration()


@pytest.mark.parametrize("strategy", ["ROUND_ROBIN", "Round_Robin", "round_robin"])
def test_a_strategy_may_be_written_in_capitals(strategy: str) -> None:
    assert load_configuration(environ={"LLM_STRATEGY": strategy, "LLM_ENDPOINTS": "http://h/v1"}).strategy == "round_robin"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://gpu1:8000/v1", "gpu1:8000"),
        ("https://user:password@host/v1", "host"),
        ("http://[::1]:8000/v1", "[::1]:8000"),
    ],
)
def test_endpoints_are_named_after_their_host(url: str, name: str) -> None:
    assert default_name(url) == name


def test_the_values_of_the_configuration_are_frozen() -> None:
    configuration: Any = Configuration()
    with pytest.raises(AttributeError):
        configuration.timeout = 3
