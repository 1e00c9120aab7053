"""What can be set, and that everything else is refused with its place and a reason."""

from pathlib import Path
from typing import Any

import pytest

from balancer.configuration import Configuration, HealthCheck, dump_configuration, environment, load_configuration
from balancer.configuration.values import CacheSettings, ChatDefaults, Discovery, LogSettings
from balancer.endpoint import Endpoint, Price, default_name
from balancer.errors import ConfigurationError
from balancer.routing import BalancingStrategy

SECRET = "sk-very-secret-0123456789"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "roadbalancer.yaml"


def load(config: Path, text: str, **env: str) -> Configuration:
    config.write_text(text, encoding="utf-8")
    return load_configuration(config, env)


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


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml: can't be read"):
        load_configuration(tmp_path / "nowhere.yaml", {})


def test_a_file_that_is_not_text_is_told(config: Path) -> None:
    config.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="can't be read"):
        load_configuration(config, {})


def test_an_empty_file_sets_nothing(config: Path) -> None:
    assert load(config, "# nothing\n") == Configuration()


def test_the_variable_names_the_file(config: Path) -> None:
    config.write_text("timeout: 3")
    assert load_configuration(environ={"ROADBALANCER_CONFIG": str(config)}).timeout == 3


def test_nothing_at_all_is_a_configuration() -> None:
    assert load_configuration(environ={}) == Configuration()


def test_lists_of_variables_make_endpoints() -> None:
    loaded = load_configuration(
        environ={
            "LLM_ENDPOINTS": "http://a:1/v1, http://b:2/v1",
            "LLM_API_KEYS": "k1,",
            "LLM_WEIGHTS": "2, 0.5",
            "LLM_STRATEGY": "round_robin",
            "LLM_TIMEOUT": "7.5",
            "LLM_HEALTH_CHECK": "false",
            "OPENAI_API_KEY": "not asked for",
        }
    )
    assert [(e.name, e.api_key, e.weight) for e in loaded.endpoints] == [("a:1", "k1", 2.0), ("b:2", None, 0.5)]
    assert (loaded.strategy, loaded.timeout, loaded.health_check.enabled) == (BalancingStrategy.ROUND_ROBIN, 7.5, False)


@pytest.mark.parametrize(
    ("env", "path"),
    [
        ({"LLM_ENDPOINTS": "http://a,http://b", "LLM_WEIGHTS": "1"}, "LLM_WEIGHTS"),
        ({"LLM_ENDPOINTS": "http://a", "LLM_API_KEYS": "a,b"}, "LLM_API_KEYS"),
        ({"LLM_STRATEGY": "fastest"}, "LLM_STRATEGY"),
        ({"LLM_TIMEOUT": "soon"}, "LLM_TIMEOUT"),
        ({"LLM_HEALTH_CHECK": "perhaps"}, "LLM_HEALTH_CHECK"),
        ({"ROADBALANCER_REDIS_URL": "localhost"}, "ROADBALANCER_REDIS_URL"),
        ({"LLM_ENDPOINTS": "gpu1"}, "endpoints[0].url"),
        ({"LLM_ENDPOINTS": "http://a", "LLM_WEIGHTS": "heavy"}, "endpoints[0].weight"),
    ],
)
def test_a_bad_variable_is_named(config: Path, env: dict[str, str], path: str) -> None:
    for source in (None, config):
        config.write_text("store: ./here")
        with pytest.raises(ConfigurationError) as refused:
            load_configuration(source, env)
        assert (refused.value.source, refused.value.path) == ("environment", path)


def test_defaults_of_a_turn_come_from_the_file_with_variables_over_them(config: Path) -> None:
    loaded = load(config, EVERYTHING, GPU1_KEY=SECRET, DEFAULT_TEMPERATURE="0.5", DEFAULT_MODEL=" ")
    assert loaded.chat == ChatDefaults("small", "Be kind.", 0.5, 10)
    assert load_configuration(environ={}).chat == ChatDefaults(None, None, 0.7, 1_000)


@pytest.mark.parametrize(
    ("chat", "env", "source", "path"),
    [
        ("{}", {"DEFAULT_MAX_TOKENS": "many"}, "environment", "DEFAULT_MAX_TOKENS"),
        ("{}", {"DEFAULT_TEMPERATURE": "3"}, "environment", "DEFAULT_TEMPERATURE"),
        ("{temperature: 3}", {"DEFAULT_MODEL": "m"}, "FILE", "chat.temperature"),
        ("{temprature: 1}", {}, "FILE", "chat.temprature"),
        ("5", {"DEFAULT_MODEL": "m"}, "FILE", "chat"),
    ],
)
def test_a_default_of_a_turn_that_cannot_be_used_is_named(
    config: Path, chat: str, env: dict[str, str], source: str, path: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(config, f"chat: {chat}", **env)
    assert (caught.value.source, caught.value.path) == (str(config) if source == "FILE" else source, path)


def test_variables_for_endpoints_count_only_where_the_file_has_none(config: Path) -> None:
    env = {"LLM_ENDPOINTS": "http://b/v1", "LLM_STRATEGY": "random", "ROADBALANCER_STORE": "elsewhere"}
    with_endpoints = load(config, "endpoints: [{url: 'http://a'}]\nstore: here", **env)
    assert [e.name for e in with_endpoints.endpoints] == ["a"]
    assert (with_endpoints.strategy, with_endpoints.store) == (BalancingStrategy.WEIGHTED, "elsewhere")
    without = load(config, "store: here\nstrategy: weighted", **env)
    assert ([e.name for e in without.endpoints], without.strategy) == (["b"], BalancingStrategy.RANDOM)


def test_provider_keys_make_endpoints_where_none_is_named() -> None:
    loaded = load_configuration(environ={"OPENAI_API_KEY": SECRET})
    assert [(e.name, e.url, e.api_key) for e in loaded.endpoints] == [("openai", "https://api.openai.com/v1", SECRET)]


def test_keys_of_the_api_come_from_a_list() -> None:
    keys = ("a" * 16, "b" * 24)
    assert load_configuration(environ={"ROADBALANCER_API_KEYS": f"{keys[0]}, {keys[1]},,"}).api_keys == keys


@pytest.mark.parametrize(("value", "reason"), [("", "holds no key"), (" , ", "holds no key"), ("short", "could be guessed")])
def test_keys_of_the_api_that_protect_nothing_are_refused(value: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        load_configuration(environ={"ROADBALANCER_API_KEYS": value})


@pytest.mark.parametrize("strategy", ["ROUND_ROBIN", "Round_Robin", "round_robin"])
def test_a_strategy_may_be_written_in_capitals(strategy: str) -> None:
    assert load_configuration(environ={"LLM_STRATEGY": strategy, "LLM_ENDPOINTS": "http://h/v1"}).strategy == "round_robin"


def test_a_dotenv_file_is_read_and_the_environment_beats_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("RB_TEST_ONE=file\nRB_TEST_TWO=file\nRB_TEST_NONE\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RB_TEST_TWO", "process")
    env = environment()
    assert (env["RB_TEST_ONE"], env["RB_TEST_TWO"], "RB_TEST_NONE" in env) == ("file", "process", False)


def test_a_variable_can_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, config = tmp_path / "secret", tmp_path / "roadbalancer.yaml"
    secret.write_text("a-secret-from-a-file\n")
    config.write_text("endpoints: [{url: http://h/v1, api_key: '${RB_TEST_KEY}'}]")
    monkeypatch.setenv("RB_TEST_KEY_FILE", str(secret))
    monkeypatch.setenv("ROADBALANCER_API_KEYS_FILE", str(secret))
    found = load_configuration(config)
    assert found.endpoints[0].api_key == "a-secret-from-a-file"
    assert found.api_keys == ("a-secret-from-a-file",)
    monkeypatch.setenv("RB_TEST_KEY", "the-variable-itself")
    assert load_configuration(config).endpoints[0].api_key == "the-variable-itself"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "can't be read: No such file"), (b"\xff\xfe", "is no text"), (65_537 * b"x", "more than 65,536 bytes")],
)
def test_a_file_of_a_variable_that_can_not_be_used_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, reason: str
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(secret))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match=reason) as refused:
        load_configuration()
    assert "OPENAI_API_KEY_FILE" in str(refused.value)


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
