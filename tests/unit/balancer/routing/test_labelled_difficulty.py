"""The difficulty of the labelled requests in examples/difficulty.jsonl, beside their labels."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from balancer.routing.difficulty import Difficulty, DifficultyRules, difficulty

ROOT = Path(__file__).parents[4]
LABELLED = [orjson.loads(line) for line in (ROOT / "examples/difficulty.jsonl").read_bytes().splitlines()]
RULES = DifficultyRules()


def confusion() -> Counter[tuple[str, str]]:
    return Counter((row["difficulty"], str(difficulty(row["body"], RULES))) for row in LABELLED)


def test_most_labels_are_met_and_no_hard_request_counts_as_easy() -> None:
    counts = confusion()
    assert len(LABELLED) == counts.total() == 200
    assert sum(counts[tier, tier] for tier in Difficulty) >= 0.85 * len(LABELLED)
    assert counts[Difficulty.HARD, Difficulty.EASY] == 0


def test_the_table_of_the_documentation_is_the_measured_one() -> None:
    counts = confusion()
    rows = [f"| {label} | {' | '.join(str(counts[label, tier]) for tier in Difficulty)} |" for label in Difficulty]
    assert "\n".join(rows) in (ROOT / "docs/configuration.md").read_text()


@pytest.mark.exclusive
def test_an_estimate_takes_little_time() -> None:
    best = [min(_seconds(row["body"]) for _ in range(50)) for row in LABELLED]
    assert sum(best) / len(best) < 50e-6


@pytest.mark.exclusive
@pytest.mark.parametrize("text", ["$", "\\", ";\n", "증", "a b ", "<"])
def test_hostile_texts_take_no_longer_than_their_length_asks_for(text: str) -> None:
    body = {"messages": [{"role": "user", "content": text * 1_000_000}]}
    assert min(_seconds(body) for _ in range(5)) < 5e-3


def _seconds(body: dict[str, Any]) -> float:
    started = time.perf_counter()
    difficulty(body, RULES)
    return time.perf_counter() - started
