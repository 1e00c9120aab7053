"""The gateway benchmark, as far as it goes without LiteLLM."""

import tempfile
from pathlib import Path

import pytest

from bench.benchmarks import gateway
from bench.results import BenchmarkFailed


async def test_without_litellm_there_are_figures_of_ours_and_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def missing(_: str) -> Path:
        raise BenchmarkFailed("it could not be installed")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(gateway, "competitors_python", missing)
    figures = {figure.name: figure for figure in await gateway.BENCHMARK.measure(True)}

    measured = {name: figure.value for name, figure in figures.items() if figure.value is not None}
    assert list(measured) == [
        "direct, 64 in flight",
        "direct, one at a time",
        "direct, first chunk of a stream",
        "Roadbalancer, 64 in flight",
        "Roadbalancer, CPU",
        "Roadbalancer adds to a request",
        "Roadbalancer adds to a first chunk",
    ]
    assert measured["direct, 64 in flight"] > measured["Roadbalancer, 64 in flight"] > 0
    skipped = [figure for figure in figures.values() if figure.value is None]
    assert [figure.note for figure in skipped] == ["skipped: it could not be installed"] * 4
    assert figures["LiteLLM proxy, 64 in flight"].against == "Roadbalancer, 64 in flight"
    assert list(tmp_path.iterdir()) == []
