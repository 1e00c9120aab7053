"""Medians, ratios and targets."""

import pytest

from bench.results import Figure, Target, at_least, at_most, summarise


@pytest.mark.parametrize(
    ("target", "measured", "met"),
    [
        (at_least(8), 8.0, True),  # the bound itself is enough
        (at_least(8), 7.99, False),
        (at_most(1), 1.0, True),
        (at_most(1), 1.01, False),
        (at_most(1), -3.0, True),  # a difference may be negative
    ],
)
def test_a_target_is_met_on_its_side_of_the_bound(target: Target, measured: float, met: bool) -> None:
    assert target.is_met_by(measured) is met


def test_the_median_of_the_rounds_counts() -> None:
    rounds = [[Figure("a", value, "s")] for value in (3.0, 1.0, 2.0)]
    (result,) = summarise(rounds)
    assert result.value == 2.0
    assert result.values == (3.0, 1.0, 2.0)
    assert result.met is None


def test_a_ratio_is_that_of_the_medians_and_its_target_is_for_the_ratio() -> None:
    rounds = [
        [Figure("ours", ours, "lines/s"), Figure("theirs", theirs, "lines/s", at_least(8), "ours")]
        for ours, theirs in ((1000.0, 100.0), (1200.0, 120.0), (900.0, 150.0))
    ]
    ours, theirs = summarise(rounds)
    assert theirs.ratio == pytest.approx(1000 / 120)
    assert theirs.met is True
    assert ours.ratio is None


def test_a_figure_that_could_not_be_measured_has_neither_value_nor_verdict() -> None:
    ours, skipped = summarise([[Figure("ours", 10.0, "s"), Figure("theirs", None, "s", at_least(2), "ours", "skipped")]])
    assert ours.value == 10.0
    assert (skipped.value, skipped.ratio, skipped.met, skipped.note) == (None, None, None, "skipped")


def test_a_round_without_a_value_leaves_those_of_the_others() -> None:
    (result,) = summarise([[Figure("a", 4.0, "s")], [Figure("a", None, "s")]])
    assert (result.value, result.values) == (4.0, (4.0,))


def test_a_value_of_zero_gives_no_ratio() -> None:
    _, theirs = summarise([[Figure("ours", 10.0, "s"), Figure("theirs", 0.0, "s", at_least(2), "ours")]])
    assert (theirs.ratio, theirs.met) == (None, None)


def test_no_round_gives_no_result() -> None:
    assert summarise([]) == ()
