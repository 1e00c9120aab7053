"""Budgets of one process: the arithmetic, with a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.endpoint import Endpoint
from balancer.outcome import Usage
from balancer.state.rate_limits.local import Bucket, LocalRateLimiter
from balancer.state.rate_limits.shared import MOST_COMPLETION, expected_tokens

URL = "http://gpu1:8000/v1"


@pytest.mark.parametrize(
    ("per_minute", "amount", "after", "wait"),
    [
        # a full bucket holds a second's worth
        (600, 10, 0.0, 0.0),
        # what is missing fills so that a minute's sum is kept: 590 in 60 s
        (600, 10, None, 10 / (590 / 60)),
        # at least one fits into the smallest bucket
        (6, 1, 0.0, 0.0),
        # more than the bucket holds needs a full one
        (600, 100, 0.0, 0.0),
    ],
)
def test_how_long_a_take_waits(per_minute: float, amount: float, after: float | None, wait: float) -> None:
    bucket = Bucket(per_minute, 0.0)
    if after is None:
        bucket.take(bucket.size)
    assert bucket.wait(amount, after or 0.0) == pytest.approx(wait)


@given(per_minute=st.integers(1, 10_000), gaps=st.lists(st.floats(0, 2), max_size=60))
def test_no_minute_exceeds_the_budget(per_minute: int, gaps: list[float]) -> None:
    bucket, now, taken = Bucket(per_minute, 0.0), 0.0, []
    for gap in gaps:
        now += gap
        now += bucket.wait(1, now)
        bucket.wait(1, now)
        bucket.take(1)
        taken.append(now)
    assert all(sum(start <= at < start + 60 - 1e-6 for at in taken) <= per_minute + 1e-6 for start in taken)


async def test_what_was_really_used_is_corrected() -> None:
    pacer = LocalRateLimiter([Endpoint(URL, name="e", tpm=6000)])
    await pacer.acquire("e", 100)
    pacer.reconcile("e", 100, Usage(5, 5))
    lane = pacer._lanes["e"]
    assert lane.tokens is not None
    assert lane.tokens.level == pytest.approx(90, abs=5)


def test_an_endpoint_without_limits_is_not_paced() -> None:
    pacer = LocalRateLimiter([Endpoint(URL, name="e")])
    assert not pacer.is_limited("e")
    pacer.add(Endpoint(URL, name="f", rpm=1))
    assert pacer.is_limited("f")
    pacer.remove("f")
    assert not pacer.is_limited("f")


@pytest.mark.parametrize("limit", [-(2**62), 0, 2**62, True, "many", None, 1.5])
def test_no_limit_that_a_caller_invents_uses_up_the_budget(limit: object) -> None:
    assert 0 < expected_tokens({"max_tokens": limit, "prompt": "word " * 100}) <= 100 + MOST_COMPLETION
