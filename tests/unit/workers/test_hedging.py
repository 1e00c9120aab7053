"""How many hedges there may be, and what is late."""

import pytest

from workers.hedging import HedgeBudget, is_late


def test_hedges_stay_below_their_share_of_the_requests() -> None:
    budget = HedgeBudget(0.02)
    assert not budget.take()
    budget.requests = 149
    assert [budget.take() for _ in range(4)] == [True, True, False, False]
    budget.requests = 150
    assert [budget.take() for _ in range(2)] == [True, False]
    budget.give_back()
    assert budget.take()


def test_a_share_of_0_switches_them_off() -> None:
    budget = HedgeBudget(0.0)
    budget.requests = 1_000_000
    assert not budget.take()


@pytest.mark.parametrize(
    ("seconds", "usual", "late"), [(0.4, 0.1, False), (0.6, 0.1, True), (0.6, None, True), (3.9, 2.0, False), (4.1, 2.0, True)]
)
def test_a_line_is_late_after_twice_the_usual_time(seconds: float, usual: float | None, late: bool) -> None:
    assert is_late(seconds, usual) is late
