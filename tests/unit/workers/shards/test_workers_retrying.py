"""When failed lines are tried again."""

import random

import pytest

from balancer.outcome import Failure, FailureKind
from workers.shards.retrying import LONGEST_COUNTDOWN, RetryPolicy, after_a_pass, is_the_lines_fault

POLICY = RetryPolicy(attempts=3, first=1.0, longest=10.0, longest_outage=4.0)


def failure(kind: FailureKind, retry_after: float | None = None) -> Failure:
    return Failure(kind, "m", retry_after=retry_after)


SERVER, TIMEOUT = failure(FailureKind.SERVER), failure(FailureKind.TIMEOUT)
REFUSED, LIMITED = failure(FailureKind.CONNECTION), failure(FailureKind.RATE_LIMIT, 7.0)


@pytest.mark.parametrize(
    ("failures", "passes", "waits", "given_up", "waiting", "least", "most"),
    [
        ({7: SERVER}, {}, 0, set(), {7: 1}, 0.5, 1.0),  # half of the wait is certain, half is chance
        ({7: SERVER}, {7: 1}, 1, set(), {7: 2}, 1.0, 2.0),  # twice as long
        ({7: SERVER}, {7: 2}, 2, {7}, {}, 2.0, 4.0),  # it has had its attempts
        ({7: TIMEOUT}, {7: 2}, 0, {7}, {}, 0.5, 1.0),
        ({7: SERVER}, {}, 60, set(), {7: 1}, 5.0, 10.0),  # up to a bound
        ({7: REFUSED}, {7: 2}, 0, set(), {7: 2}, 0.5, 1.0),  # not the line's fault: no attempt
        ({7: REFUSED}, {}, 60, set(), {7: 0}, 2.0, 4.0),  # and looked after more often
        ({7: REFUSED, 8: SERVER}, {7: 2, 8: 2}, 0, {8}, {7: 2}, 0.5, 1.0),  # each on its own
        ({7: SERVER, 8: SERVER}, {7: 2}, 0, {7}, {8: 1}, 0.5, 1.0),  # however often others have failed
        ({7: LIMITED}, {}, 0, set(), {7: 0}, 7.0, 7.0),  # as long as was asked for
        ({7: LIMITED}, {7: 2}, 60, set(), {7: 2}, 7.0, 7.0),
        ({7: failure(FailureKind.OVERLOADED, 0.1)}, {}, 0, set(), {7: 0}, 0.5, 1.0),  # but not less than the backoff
        ({7: failure(FailureKind.RATE_LIMIT, 1e9)}, {}, 0, set(), {7: 0}, LONGEST_COUNTDOWN, LONGEST_COUNTDOWN),
        ({7: failure(FailureKind.UNAVAILABLE)}, {}, 0, set(), {7: 0}, 0.5, 1.0),
        ({}, {}, 0, set(), {}, 0.5, 1.0),
    ],
)
def test_what_becomes_of_failed_lines(
    failures: dict[int, Failure],
    passes: dict[int, int],
    waits: int,
    given_up: set[int],
    waiting: dict[int, int],
    least: float,
    most: float,
) -> None:
    for seed in range(20):
        decision = after_a_pass(failures, passes, waits, POLICY, random.Random(seed))
        assert (decision.given_up, decision.waiting) == (given_up, waiting)
        assert least <= decision.countdown <= most


@pytest.mark.parametrize("kind", list(FailureKind))
def test_an_endpoint_that_is_away_is_no_fault_of_the_line(kind: FailureKind) -> None:
    away = {FailureKind.CONNECTION, FailureKind.UNAVAILABLE, FailureKind.RATE_LIMIT, FailureKind.OVERLOADED}
    away |= {FailureKind.AUTHENTICATION, FailureKind.QUOTA}  # the operator has to see to the endpoint
    assert is_the_lines_fault(failure(kind)) is (kind not in away)
