"""`python -m bench` as it is typed."""

import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import __main__ as program
from bench.benchmarks import BENCHMARKS, Benchmark
from bench.results import BenchmarkFailed, Figure, at_least


def put(monkeypatch: pytest.MonkeyPatch, name: str, *answers: Figure | Exception | float, limit: float = 5.0) -> None:
    """Replace a benchmark by one that gives these answers in turn: a figure, an error, or some seconds of nothing."""
    turns = iter(answers)

    async def measure(quick: bool) -> Sequence[Figure]:
        answer = next(turns)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            return []
        return [answer]

    monkeypatch.setitem(BENCHMARKS, name, Benchmark(name, "a question", measure, limit))


def test_the_table_of_benchmarks_has_each_under_its_own_name() -> None:
    assert list(BENCHMARKS) == [
        "bulk",
        "slots",
        "submit",
        "memory",
        "failover",
        "overhead",
        "library",
        "gateway",
        "abort",
        "tail",
        "concurrency",
        "prefix",
        "embeddings",
    ]
    assert all(name == benchmark.name for name, benchmark in BENCHMARKS.items())


def test_a_quick_run_measures_prints_writes_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    target = tmp_path / "found.json"
    assert program.main(["memory", "--quick", "--json", str(target)]) == 0
    assert "running, the difference" in capsys.readouterr().out
    found = json.loads(target.read_bytes())
    results = {result["name"]: result for result in found["outcomes"][0]["results"]}
    assert results["open, 1,000 lines"]["value"] > 0
    assert results["open, the difference"]["met"] is True
    assert found["quick"] is True
    assert {"cores", "cpu", "python", "versions"} <= set(found["machine"])
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]

    assert program.main(["--markdown", "--from", str(target)]) == 0
    assert "| open, the difference |" in capsys.readouterr().out


def test_a_benchmark_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "bulk", BenchmarkFailed("no luck"))
    put(monkeypatch, "slots", RuntimeError("a bug"))
    put(monkeypatch, "memory", 30.0, limit=0.05)
    put(monkeypatch, "failover", Figure("a", 1.0, "s"))
    target = tmp_path / "found.json"
    assert program.main(["bulk", "slots", "memory", "failover", "--json", str(target)]) == 1
    errors = {outcome["benchmark"]: outcome["error"] for outcome in json.loads(target.read_bytes())["outcomes"]}
    assert errors == {
        "bulk": "round 1: no luck",
        "slots": "round 1 broke: RuntimeError('a bug')",
        "memory": "round 1 was ended after 0.05 s",
        "failover": "",
    }


def test_without_names_everything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(BENCHMARKS):
        put(monkeypatch, name, Figure(name, 1.0, "s"))
    target = tmp_path / "found.json"
    assert program.main(["--json", str(target)]) == 0
    assert [outcome["benchmark"] for outcome in json.loads(target.read_bytes())["outcomes"]] == list(BENCHMARKS)


def test_a_missed_target_is_no_failure_and_rounds_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "bulk", *(Figure("a", value, "s", at_least(10)) for value in (1.0, 2.0, 6.0)))
    target = tmp_path / "found.json"
    assert program.main(["bulk", "--repeat", "3", "--json", str(target)]) == 0
    (result,) = json.loads(target.read_bytes())["outcomes"][0]["results"]
    assert (result["value"], result["values"], result["met"]) == (2.0, [1.0, 2.0, 6.0], False)


@pytest.mark.parametrize("arguments", [["nonsense"], ["--repeat", "0"], ["--repeat", "x"]])
def test_bad_usage_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        program.main(arguments)


def test_a_file_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.json"
    path.write_text("{}")
    assert program.main(["--from", str(path)]) == 2
    assert "is not the JSON of a run" in capsys.readouterr().err
