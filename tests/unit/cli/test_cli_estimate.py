"""`estimate` on the command line: what it prints, and what it refuses."""

import json
import os
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from api_roadbalancer.cli.main import app
from balancer.errors import ConfigurationError
from jobs.errors import InvalidRequest

PRICED = {"url": "http://127.0.0.1:9/v1", "name": "big", "weight": 3, "models": ["m"], "price": {"input": 1, "output": 2}}
UNKNOWN = {"url": "http://127.0.0.1:8/v1", "name": "small", "provider": "vllm", "models": ["m", "n"], "max_tokens": 50}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither variables nor a `.env` of whoever runs the tests count."""
    for name in [n for n in os.environ if n.startswith(("LLM_", "ROADBALANCER_", "LAAS_")) or n.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def run(folder: Path, endpoints: list[dict[str, object]], lines: str, *options: str) -> Result:
    (folder / "fleet.yaml").write_text(yaml.safe_dump({"endpoints": endpoints, "store": str(folder / "store")}))
    (folder / "in.jsonl").write_text(lines)
    return CliRunner().invoke(app, ["estimate", str(folder / "in.jsonl"), "--config", str(folder / "fleet.yaml"), *options])


def prompts(count: int, **fields: object) -> str:
    return "".join(json.dumps({"prompt": "word " * 10, **fields}) + "\n" for _ in range(count))


def test_an_estimate_for_machines(tmp_path: Path) -> None:
    result = run(tmp_path, [PRICED, UNKNOWN], prompts(8, model="m"), "--json", "--output-tokens", "100")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["endpoints"]["big"] == {
        "provider": "openai",
        "lines": 6.0,
        "tokens": {"input": 60, "output": 600},
        "cost": 0.00126,
        "known_cost": 0.00126,
        "unpriced_lines": 0.0,
    }
    assert found["providers"]["vllm"]["tokens"] == {"input": 20, "output": 100}
    assert found["providers"]["vllm"]["cost"] is None
    # Some lines have no known price, so the sum is not known either.
    assert (found["lines"], found["cost"], found["known_cost"], found["unpriced_lines"]) == (8.0, None, 0.00126, 2.0)
    assert "else 100" in found["assumptions"]["output tokens"]


def test_an_estimate_for_people_says_what_it_does_not_know(tmp_path: Path) -> None:
    result = run(tmp_path, [PRICED, UNKNOWN], prompts(8, model="m", max_tokens=500))
    assert "8 lines, about 80 tokens in, 3,100 out, cost ≥ $0.006060" in result.stdout
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.strip()}
    assert rows["big"] == ["openai", "6", "60", "3,000", "$0.006060"]
    assert rows["small"] == ["vllm", "2", "20", "100", "unknown"]
    assert "words and characters of each language" in result.stdout


def test_flex_is_compared_where_an_endpoint_has_it(tmp_path: Path) -> None:
    openai = {"provider": "openai", "api_key": "k", "name": "big", "models": ["m"], "price": {"input": 1, "output": 2}}
    result = run(tmp_path, [openai], prompts(8, model="m", max_tokens=500))
    assert "cost $0.008080" in result.stdout and "with --price-class flex: $0.004040;" in result.stdout
    found = json.loads(run(tmp_path, [openai], prompts(8, model="m", max_tokens=500), "--json").stdout)
    assert (found["cost"], found["flex_cost"]) == (0.00808, 0.00404)
    in_flex = run(tmp_path, [{**openai, "price_class": "flex"}], prompts(8, model="m", max_tokens=500))
    assert "cost $0.008080" in in_flex.stdout, "its own price is that of flex"
    assert "--price-class" not in run(tmp_path, [PRICED], prompts(8, model="m")).stdout


def test_the_classes_are_compared(tmp_path: Path) -> None:
    batches = {**PRICED, "provider": "openai", "api_key": "k", "batch": True}
    result = run(tmp_path, [batches], prompts(8, model="m", max_tokens=500))
    assert "as configured: $0.008080; about 11 seconds" in result.stdout
    assert "with --price-class batch: $0.004040; at most 24 hours" in result.stdout
    assert "with --price-class cheapest: $0.004040; in the job's window" in result.stdout
    found = json.loads(run(tmp_path, [{**batches, "queued_tokens": 30}], prompts(8, model="m"), "--json").stdout)
    assert found["classes"]["batch"] == {"cost": found["cost"] / 2, "seconds": None, "time": "at most 72 hours; often much less"}
    assert "batch" not in json.loads(run(tmp_path, [PRICED], prompts(8, model="m"), "--json").stdout)["classes"]


def test_other_strategies_spread_evenly(tmp_path: Path) -> None:
    result = run(tmp_path, [PRICED, UNKNOWN], prompts(8, model="m"), "--json")
    assert json.loads(result.stdout)["endpoints"]["small"]["lines"] == 2.0
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump({"strategy": "random", "endpoints": [PRICED, UNKNOWN]}))
    again = CliRunner().invoke(app, ["estimate", str(tmp_path / "in.jsonl"), "--config", str(tmp_path / "fleet.yaml"), "--json"])
    assert json.loads(again.stdout)["endpoints"]["small"]["lines"] == 4.0


def test_a_chain_of_models_is_followed(tmp_path: Path) -> None:
    run(tmp_path, [PRICED, UNKNOWN], prompts(4, model="best"))
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump({"endpoints": [PRICED, UNKNOWN], "routes": {"best": ["n", "m"]}}))
    result = CliRunner().invoke(app, ["estimate", "in.jsonl", "--config", "fleet.yaml", "--json"])
    assert json.loads(result.stdout)["endpoints"]["small"]["lines"] == 4.0


def test_nothing_is_started_for_an_estimate(tmp_path: Path) -> None:
    run(tmp_path, [PRICED], prompts(1, model="m"))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("", "the file has no requests in it"),
        (prompts(1, model="m") + '{"prompt": 7}\n', "line 2: `prompt` must be a string"),
        (prompts(2, model="m", custom_id="same"), "line 2: duplicate custom_id, first used on line 1"),
        (prompts(1, model="m") + prompts(1, model="absent"), "line 2: no endpoint serves the model 'absent'"),
        ("{nonsense\n", "line 1: is not valid JSON"),
    ],
)
def test_a_bad_input_is_refused_with_its_line_and_the_reason(tmp_path: Path, lines: str, reason: str) -> None:
    result = run(tmp_path, [PRICED], lines)
    assert isinstance(result.exception, InvalidRequest)
    assert reason in str(result.exception)


def test_without_any_endpoint_there_is_nothing_to_estimate(tmp_path: Path) -> None:
    assert isinstance(run(tmp_path, [], prompts(1)).exception, ConfigurationError)


def test_an_input_that_is_not_there_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["estimate", str(tmp_path / "absent.jsonl")])
    assert isinstance(result.exception, InvalidRequest)
