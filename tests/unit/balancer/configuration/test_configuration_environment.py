"""Settings from the environment: variables, provider keys, `.env`, and files that variables name."""

from pathlib import Path

import pytest
from configuration_file import load

from balancer.configuration import environment, load_configuration
from balancer.configuration.values import ChatDefaults
from balancer.errors import ConfigurationError
from balancer.routing import BalancingStrategy

SECRET = "sk-very-secret-0123456789"
CHAT = "chat: {model: small, system_message: Be kind., temperature: 0, max_tokens: 10}"


def test_the_variable_names_the_file(config: Path) -> None:
    config.write_text("timeout: 3")
    assert load_configuration(environ={"ROADBALANCER_CONFIG": str(config)}).timeout == 3


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
    loaded = load(config, CHAT, DEFAULT_TEMPERATURE="0.5", DEFAULT_MODEL=" ")
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
