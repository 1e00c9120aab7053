"""What a run looks like as tables, Markdown and JSON."""

import io

import pytest
from rich.console import Console

from bench.report import Run, as_json, as_markdown, cells, from_json, number, print_tables
from bench.results import Figure, Outcome, at_least, at_most, summarise

MACHINE = {
    "cores": 2, "cpu": "Test CPU", "memory_gb": 8, "load_before": 0.5, "system": "Linux 6", "python": "3.11.7",
    "commit": "abc1234", "versions": {"celery": "5.7.0"},
}  # fmt: skip


@pytest.fixture
def run() -> Run:
    rounds = [
        [
            Figure("ours", ours, "lines/s"),
            Figure("theirs", 200.0, "lines/s", at_least(8), "ours", "one | two"),
            Figure("slow", 2.0, "s", at_most(1)),
            Figure("left out", None, "lines/s", at_least(5), "ours", "skipped: no network"),
        ]
        for ours in (4000.0, 4200.0)
    ]
    outcomes = (
        Outcome("bulk", "how fast", summarise(rounds), 12.3),
        Outcome("slots", "how full", (), 1.0, "round 1: it broke"),
    )
    return Run("2026-01-02T03:04:05+00:00", quick=False, rounds=2, machine=dict(MACHINE), outcomes=outcomes)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (20_000.4, "20,000"),
        (99.96, "100"),
        (96.34, "96.3"),
        (0.1234, "0.123"),
        (0.00001, "0"),
        (-0.0028, "-0.0028"),
        (60.0, "60"),
    ],
)
def test_numbers_have_about_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_row_tells_value_spread_ratio_target_and_verdict(run: Run) -> None:
    ours, theirs, slow, left_out = run.outcomes[0].results
    assert cells(ours) == ("ours", "4,100 lines/s", "4,000–4,200", "", "", "", "")
    assert cells(theirs) == ("theirs", "200 lines/s", "200–200", "20.5 ×", "≥ 8 ×", "yes", "one | two")
    assert cells(slow)[4:6] == ("≤ 1 s", "no")
    assert cells(left_out) == ("left out", "—", "", "", "≥ 5 ×", "", "skipped: no network")


def test_json_holds_the_whole_run(run: Run) -> None:
    assert from_json(as_json(run)) == run


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]"], ids=["empty", "no outcomes", "a list"])
def test_what_is_no_run_is_refused(content: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        from_json(content)


def test_markdown_has_a_table_for_each_benchmark_and_names_the_failure(run: Run) -> None:
    text = as_markdown(run)
    assert "| theirs | 200 lines/s | 200–200 | 20.5 × | ≥ 8 × | yes | one / two |" in text
    assert "Failed: round 1: it broke" in text
    assert "median of 2 rounds, 2 cores of Test CPU" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1


def test_tables_show_what_was_found_and_what_failed(run: Run) -> None:
    screen = io.StringIO()
    print_tables(run, Console(file=screen, width=160))
    text = screen.getvalue()
    assert "20.5 ×" in text
    assert "failed: round 1: it broke" in text
    assert "commit abc1234" in text
