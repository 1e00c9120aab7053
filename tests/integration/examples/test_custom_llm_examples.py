import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_roadbalancer import Endpoint, LoadBalancer
from api_roadbalancer.mock import MockServer

FOLDER = Path(__file__).parents[3] / "examples" / "custom_llm"
PROGRAMS = ["wrapper", "subclass", "injection"]
SAID = {
    "wrapper": ["Bot: Simulated answer to: And one in France?.", "4 messages in the history"],
    "subclass": ["Simulated answer to: Name a lake..", "requests"],
    "injection": ["Simulated answer to: Translate into Korean: Thank you.."],
}


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports an example by its name, as a program beside it would."""
    monkeypatch.syspath_prepend(FOLDER)
    before = set(sys.modules)
    yield __import__
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
            del sys.modules[name]


@pytest.fixture
def balancer(two_mocks: list[MockServer]) -> Iterator[LoadBalancer]:
    with LoadBalancer([Endpoint(server.url) for server in two_mocks], "round_robin") as opened:
        yield opened


@pytest.fixture
def dead_balancer() -> Iterator[LoadBalancer]:
    with LoadBalancer([Endpoint("http://127.0.0.1:9/v1")], retry_count=0, enable_health_check=False) as opened:
        yield opened


def run(program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LLM_", "ROADBALANCER_", "OPENAI_"))}
    command = [sys.executable, "-W", "error", str(FOLDER / f"{program}.py"), *arguments]
    return subprocess.run(command, env=inherited | variables, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_program_runs_with_a_configuration_file(program: str, fleet_file: Path) -> None:
    ended = run(program, str(fleet_file))

    assert (ended.returncode, ended.stderr) == (0, "")
    assert all(text in ended.stdout for text in SAID[program])


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_program_runs_with_the_environment(program: str, two_mocks: list[MockServer]) -> None:
    ended = run(program, LLM_ENDPOINTS=",".join(server.url for server in two_mocks))

    assert (ended.returncode, ended.stderr) == (0, "")
    assert all(text in ended.stdout for text in SAID[program])


@pytest.mark.parametrize("program", PROGRAMS)
def test_without_endpoints_the_program_says_what_to_name(program: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.yaml"
    empty.write_text("strategy: random\n")

    ended = run(program, str(empty))

    assert ended.returncode == 1
    assert "there are none; name at least one" in ended.stderr


def test_the_wrapper_answers_in_the_light_of_the_history(modules: Any, balancer: LoadBalancer) -> None:
    bot = modules("wrapper").ChatBot(balancer, "Be brief.")

    first, second = bot.ask("One?"), bot.ask("Two?")

    said = [(message["role"], message["content"]) for message in bot.history]
    assert said == [("user", "One?"), ("assistant", first), ("user", "Two?"), ("assistant", second)]
    bot.reset()
    assert bot.history == []


def test_a_question_that_failed_leaves_no_trace_in_the_wrappers_history(modules: Any, dead_balancer: LoadBalancer) -> None:
    wrapper = modules("wrapper")
    bot = wrapper.ChatBot(dead_balancer)

    with pytest.raises(wrapper.ChatBotError, match="connection_error"):
        bot.ask("One?")

    assert bot.history == []


def test_the_subclass_keeps_all_but_the_call(modules: Any, balancer: LoadBalancer, two_mocks: list[MockServer]) -> None:
    existing, subclass = modules("existing_llm").ExistingLLM, modules("subclass").BalancedLLM
    prompts = ["One?", "Two?", "Three?", "Four?"]

    balanced = subclass(balancer, model="simulated")
    answers = balanced.generate_many(prompts)

    assert answers == existing(two_mocks[0].url, model="simulated").generate_many(prompts)
    assert balanced.seconds > 0
    assert [endpoint["requests"] for endpoint in balancer.get_stats()["endpoints"]] == [2, 2]
    own = {name for name in vars(subclass) if callable(getattr(subclass, name))}
    assert own == {"__init__", "_call_api"}


def test_the_injected_callable_is_all_that_the_unchanged_class_sees(modules: Any, balancer: LoadBalancer) -> None:
    translator = modules("existing_translator").Translator(modules("injection").make_ask(balancer, max_tokens=3), "Korean")

    assert translator.translate("Good day") == "Simulated answer to:"


@pytest.mark.parametrize("program", ["subclass", "injection"])
def test_where_no_endpoint_answers_the_error_says_why(program: str, modules: Any, dead_balancer: LoadBalancer) -> None:
    module = modules(program)
    ask = module.BalancedLLM(dead_balancer).generate if program == "subclass" else module.make_ask(dead_balancer)

    with pytest.raises(RuntimeError, match=r"no endpoint answered: .*connection_error"):
        ask("One?")
