from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_roadbalancer.mock.counters import InFlight, Totals


def test_every_request_is_counted_in_exactly_one_outcome() -> None:
    tally = Totals()
    for _ in range(5):
        tally.request("k")
    tally.answer("k", 200, good=True)
    tally.answer("k", 200, good=False)  # spoilt: the client has no completion
    tally.answer("k", 500, good=False)
    tally.answer("k", 0, good=False)  # closed without a status
    tally.abort()
    totals = tally.as_dict()
    assert (totals["requests"], totals["completed"], totals["errors"], totals["aborted"]) == (5, 1, 3, 1)
    assert totals["by_status"] == {"closed": 1, "200": 2, "500": 1}
    assert (tally.seen_keys, tally.completed_keys) == ({"k": 5}, {"k": 1})


def test_a_request_without_a_key_is_counted_all_the_same() -> None:
    tally = Totals()
    tally.request(None)
    tally.answer(None, 200, good=True)
    assert (tally.requests, tally.completed, tally.seen_keys, tally.completed_keys) == (1, 1, {}, {})


def test_a_reset_keeps_what_is_in_flight() -> None:
    in_flight = InFlight()
    for key in ("a", "a", "b"):
        in_flight.enter(key)
    in_flight.leave("b")
    in_flight.reset()
    assert (in_flight.now, in_flight.maximum, in_flight.keys) == (2, 2, {"a": 2})
    assert set(in_flight.seconds_at()) == {"2"}


@given(st.lists(st.booleans(), max_size=200))
def test_the_levels_time_adds_up_to_the_time_that_passed(arrivals: list[bool]) -> None:
    before = time.monotonic()
    in_flight = InFlight()
    level = highest = 0
    for arrives in arrivals:
        if arrives:
            in_flight.enter("k")
            level += 1
        elif level:
            in_flight.leave("k")
            level -= 1
        highest = max(highest, level)
    seconds = in_flight.seconds_at()
    assert (in_flight.now, in_flight.maximum) == (level, highest)
    assert in_flight.keys == ({"k": level} if level else {})
    assert max(map(int, seconds), default=0) <= highest
    assert sum(seconds.values()) == pytest.approx(time.monotonic() - before, abs=0.05)
