"""How many hedges there may be, and what is late."""

import pytest

from workers.shards.hedging import LEAST_ANSWERS, AnswerPace, HedgeBudget, Hedging, is_late


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


def pace(*answers: tuple[float, int]) -> AnswerPace:
    made = AnswerPace()
    for _ in range(LEAST_ANSWERS):
        for seconds, tokens in answers:
            made.add(seconds, tokens)
    return made


def test_what_an_answer_may_take_is_its_start_and_its_tokens() -> None:
    """0.5 s to start, 20 ms a token."""
    measured = pace((0.7, 10), (1.5, 50), (2.5, 100))
    assert measured.may_take(10) == pytest.approx(0.7)
    assert measured.may_take(1000) == pytest.approx(20.5)


def test_answers_that_are_all_alike_say_nothing_of_a_token() -> None:
    assert pace((1.0, 50)).may_take(1000) == pytest.approx(1.0)


def test_longer_answers_are_not_taken_to_be_faster() -> None:
    assert pace((2.0, 10), (1.0, 50)).may_take(1000) == pytest.approx(1.5, rel=0.02)


def test_a_few_answers_say_nothing() -> None:
    measured = AnswerPace()
    for _ in range(LEAST_ANSWERS - 1):
        measured.add(1.0, 10)
    assert measured.may_take(10) is None
    measured.add(1.0, 10)
    assert measured.may_take(10) is not None


def test_the_latest_answers_count_most() -> None:
    measured = pace((1.0, 10))
    for _ in range(300):
        measured.add(4.0, 10)
    assert measured.may_take(10) == pytest.approx(4.0, rel=0.02)


@pytest.mark.parametrize(
    ("max_tokens", "seconds", "overdue"),
    [(100, 3.0, False), (100, 4.0, True), (1000, 4.0, False), (None, 4.0, True), (0, 4.0, True), ("many", 4.0, True)],
)
def test_a_line_is_overdue_after_the_longest_answer_that_it_allows(max_tokens: object, seconds: float, overdue: bool) -> None:
    hedging = Hedging(0.02)
    for _ in range(LEAST_ANSWERS):
        hedging.answered("a", 0.7, 10)
        hedging.answered("a", 1.5, 50)
    assert hedging.is_overdue("a", seconds, max_tokens) is overdue
    assert hedging.is_overdue("b", seconds, max_tokens), "nothing is known of it"


def test_lines_that_are_simply_long_leave_half_of_the_hedges_to_the_others() -> None:
    budget = HedgeBudget(0.02)
    budget.requests = 200
    assert [budget.take(is_overdue=False) for _ in range(3)] == [True, True, False]
    assert [budget.take() for _ in range(3)] == [True, True, False]
