from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_roadbalancer.mock.ratelimit import TokenBucket


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_one_seconds_worth_passes_at_once_and_the_next_waits() -> None:
    clock = Clock()
    bucket = TokenBucket(600, clock)
    assert [bucket.take() for _ in range(10)] == [0.0] * 10
    assert bucket.take() == pytest.approx(0.1)
    clock.now += 0.1000001
    assert bucket.take() == 0.0


def test_a_rate_below_one_a_second_still_lets_one_through() -> None:
    bucket = TokenBucket(6, Clock())
    assert bucket.take() == 0.0
    assert bucket.take() == pytest.approx(10)


def test_no_limit_lets_everything_through() -> None:
    bucket = TokenBucket(0, Clock())
    assert not any(bucket.take() for _ in range(1000))


@given(rate=st.integers(1, 6000), gaps=st.lists(st.floats(0, 2), max_size=200))
def test_never_more_passes_than_the_rate_and_one_burst_allow(rate: int, gaps: list[float]) -> None:
    clock = Clock()
    bucket = TokenBucket(rate, clock)
    passed = 0
    for gap in gaps:
        clock.now += gap
        passed += bucket.take() == 0
    assert passed <= max(1, rate / 60) + sum(gaps) * rate / 60 + 1e-6
