"""What an account counts, how it is stored, and what its histogram tells."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.outcome import Failure, FailureKind, Outcome, Usage
from balancer.usage.tally import COUNTS, LATENCY_BOUNDS, Row, Tally, quantile

USED = Usage(10, 5, 4, 2)
BAD = Failure(FailureKind.SERVER, "broken", 500)


def tally(*outcomes: Outcome) -> Tally:
    made = Tally()
    for outcome in outcomes:
        made.add(outcome)
    return made


def test_a_success_counts_with_all_that_it_used() -> None:
    counted = tally(Outcome("e", 0.25, 200, usage=USED, cost=1.5e-6))
    assert [getattr(counted, name) for name in COUNTS] == [1, 0, 10, 5, 4, 2, 1500, 1, 0, 250_000]
    assert counted.buckets[LATENCY_BOUNDS.index(0.3)] == sum(counted.buckets) == 1


@pytest.mark.parametrize(
    ("outcome", "priced", "unpriced"),
    [
        (Outcome("e", 0.1, 200, usage=USED, cost=0.0), 1, 0),  # for free is a price
        (Outcome("e", 0.1, 200, usage=USED), 0, 1),  # the price is not known
        (Outcome("e", 0.1, 200), 0, 1),  # the tokens are not known
        (Outcome("e", 0.1, 500, failure=BAD), 0, 0),  # nothing was used
        (Outcome("e", 0.1, 500, failure=BAD, cost=0.0), 0, 0),
        (Outcome("e", 0.1, 200, usage=USED, failure=BAD, cost=0.1), 1, 0),  # paid for all the same
        (Outcome("e", 0.1, 200, usage=USED, failure=BAD), 0, 1),
    ],
)
def test_what_has_no_known_price_is_counted_apart(outcome: Outcome, priced: int, unpriced: int) -> None:
    counted = tally(outcome)
    assert (counted.priced, counted.unpriced) == (priced, unpriced)


def test_aborted_requests_say_nothing_about_latency() -> None:
    aborted = Outcome("e", 0.0, usage=USED, cost=0.1, guessed=True, abandoned=True)
    counted = tally(aborted, Outcome("e", 0.5, 200, usage=USED, cost=0.1))
    assert (counted.requests, counted.errors, counted.guessed, counted.priced, counted.input) == (2, 0, 1, 2, 20)
    assert (counted.latency_us, sum(counted.buckets)) == (500_000, 1)


def test_failures_say_nothing_about_latency() -> None:
    counted = tally(Outcome("e", 60.0, failure=BAD), Outcome("e", 0.5, 200))
    assert (counted.requests, counted.errors, counted.latency_us, sum(counted.buckets)) == (2, 1, 500_000, 1)


@given(st.lists(st.integers(0, 2**60), min_size=len(COUNTS), max_size=len(COUNTS)), st.integers(0, 2**60))
def test_what_is_stored_is_read_again(counts: list[int], slow: int) -> None:
    stored = Tally(**dict(zip(COUNTS, counts, strict=True)))
    stored.buckets[-1] = slow
    assert Tally.unpacked(stored.packed().encode()) == stored


def test_counts_of_a_later_version_are_left_alone() -> None:
    stored = tally(Outcome("e", 0.25, 200, usage=USED))
    assert Tally.unpacked(stored.packed().encode() + b",7,8") == stored


@given(st.builds(Row, *[st.text(st.characters(exclude_characters="\x1f", exclude_categories=["Cs"]))] * 4))
def test_names_are_stored_as_they_are(row: Row) -> None:
    assert Row.unpacked(row.packed()) == row


def test_names_that_would_break_the_store_are_changed() -> None:
    assert Row.unpacked(Row("p", "a\x1fb\ud800", "e", "").packed()) == Row("p", "a b?", "e", "")


@given(st.lists(st.floats(0.0, 600.0), min_size=1), st.floats(0.01, 1.0))
def test_an_estimate_is_in_the_bucket_of_the_truth(latencies: list[float], share: float) -> None:
    counted = tally(*(Outcome("e", latency, 200) for latency in latencies))
    truth = sorted(latencies)[max(0, math.ceil(share * len(latencies)) - 1)]
    upper = next(bound for bound in LATENCY_BOUNDS if truth <= bound)
    lower = max((bound for bound in LATENCY_BOUNDS if bound < truth), default=0.0)
    estimate = quantile(counted.buckets, share)
    assert estimate is not None
    assert lower <= estimate <= upper


def test_quantiles_of_nothing_and_beyond_the_last_bound() -> None:
    assert quantile(Tally().buckets, 0.5) is None
    assert quantile(tally(Outcome("e", 5000.0, 200)).buckets, 0.5) == LATENCY_BOUNDS[-1]
