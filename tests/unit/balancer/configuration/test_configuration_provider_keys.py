"""Keys in the environment make endpoints, in the order of preference."""

import re
from pathlib import Path

import pytest
import yaml

from balancer.configuration import load_configuration
from balancer.endpoint import Endpoint
from balancer.errors import ConfigurationError

ROOT = Path(__file__).parents[4]
LAAS = {"LAAS_PROJECT_CODE": "P", "LAAS_API_KEY": "lk", "LAAS_PRESET_HASH": "h"}


def endpoints(**env: str) -> tuple[Endpoint, ...]:
    return load_configuration(environ=env).endpoints


def test_each_key_makes_an_endpoint_that_is_the_fallback_of_the_one_before() -> None:
    found = endpoints(OPENAI_API_KEY="ok", CLAUDE_API_KEY="ck", GEMINI_API_KEY="gk", **LAAS)
    assert [(e.name, e.provider, e.api_key, e.priority) for e in found] == [
        ("gemini", "gemini", "gk", 0),
        ("openai", "openai", "ok", 1),
        ("claude", "anthropic", "ck", 2),
        ("laas", "laas", "lk", 3),
    ]
    assert found[3].options == {"project": "P", "hash": "h"}


def test_the_first_model_is_the_default_and_patterns_take_the_provider_s_others() -> None:
    gemini, claude, laas = endpoints(GEMINI_API_KEY="gk", ANTHROPIC_API_KEY="ck", **LAAS)
    assert next(iter(gemini.models.items())) == ("gemini-3.8-flash", "gemini-3.8-flash")
    assert "gemini-*" in gemini.models and "claude-*" in claude.models
    assert laas.models == {"laas": ""}  # the preset fixes the model


def test_a_variable_names_another_default() -> None:
    (openai,) = endpoints(OPENAI_API_KEY="ok", OPENAI_MODEL=" gpt-6-astra ")
    assert next(iter(openai.models)) == "gpt-6-astra"


@pytest.mark.parametrize(
    ("env", "key"),
    [
        ({"CLAUDE_API_KEY": "a", "ANTHROPIC_API_KEY": "b"}, "a"),
        ({"CLAUDE_API_KEY": " ", "ANTHROPIC_API_KEY": "b\n"}, "b"),
    ],
)
def test_either_name_of_claude_s_key_will_do(env: dict[str, str], key: str) -> None:
    assert [e.api_key for e in endpoints(**env)] == [key]


@pytest.mark.parametrize("left_out", LAAS)
def test_half_of_laas_is_refused_with_what_is_missing(left_out: str) -> None:
    env = {name: value for name, value in LAAS.items() if name != left_out}
    with pytest.raises(ConfigurationError) as refused:
        endpoints(GEMINI_API_KEY="gk", **env)
    assert (refused.value.source, refused.value.path) == ("environment", left_out)


@pytest.mark.parametrize("other", [{"LLM_ENDPOINTS": "http://a/v1"}, {}])
def test_keys_count_only_where_no_endpoint_is_named(other: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    env = {"GEMINI_API_KEY": "gk", "LAAS_API_KEY": "half"} | other
    config = tmp_path_factory.mktemp("config") / "fleet.yaml"
    config.write_text("store: x" if other else "endpoints: [{url: 'http://a/v1'}]")
    assert [e.name for e in load_configuration(config, env).endpoints] == ["a"]


def test_a_bad_key_is_refused_but_not_shown() -> None:
    with pytest.raises(ConfigurationError) as refused:
        endpoints(GEMINI_API_KEY="sk secret")
    assert refused.value.source == "environment" and "secret" not in str(refused.value)


def test_the_compose_file_passes_on_the_keys_of_env_example() -> None:
    example = (ROOT / ".env.example").read_text()
    offered = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", example, re.MULTILINE))
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    passed_on = compose["services"]["api"]["environment"].keys() | compose["services"]["worker"]["environment"].keys()
    assert {name for name in offered if name.endswith(("_KEY", "_MODEL", "_CODE", "_HASH"))} <= passed_on
    fleet = ROOT / offered["ROADBALANCER_CONFIG_FILE"]
    found = load_configuration(fleet, environ={"CLAUDE_API_KEY": "ck", **LAAS}).endpoints
    assert [endpoint.name for endpoint in found] == ["claude", "laas"]
