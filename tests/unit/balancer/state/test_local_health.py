"""The circuit of one process, step by step (that it agrees with the shared one is tested with Redis)."""

from functools import reduce

import pytest

from balancer.outcome import Failure, FailureKind, Outcome
from balancer.state.health import Circuit, HealthPolicy
from balancer.state.health.local import LocalHealth, Record, after_report
from balancer.state.health.report import Seen

POLICY = HealthPolicy(failures_to_open=2, connection_weight=2, first_open=2.0, longest_open=8.0)
OK, BAD, REFUSED, AGAIN, KEY = "ok", "bad", "refused", "bad again", "key refused"
PASSED, LATE = "check passed", "not in time"


def outcome(what: str) -> Outcome:
    kinds = {
        BAD: FailureKind.SERVER,
        AGAIN: FailureKind.SERVER,
        REFUSED: FailureKind.CONNECTION,
        KEY: FailureKind.AUTHENTICATION,
        LATE: FailureKind.TIMEOUT,
    }
    failure = Failure(kinds[what], "why", 401 if what == KEY else None) if what in kinds else None
    return Outcome("e", 0.1, failure=failure, repeated=what == AGAIN)


def after(record: Record, step: tuple[float, str]) -> Record:
    now, what = step
    seen = Seen()
    if what != PASSED:
        seen.add(outcome(what), POLICY)
    return after_report(record, seen, seen.policy(POLICY), now, what == PASSED)


@pytest.mark.parametrize(
    ("steps", "now", "circuit", "open_for"),
    [
        # one failure is none
        ([(0, BAD)], 0, Circuit.CLOSED, 0),
        # a run opens it
        ([(0, BAD), (0, BAD)], 0, Circuit.OPEN, 2),
        # a connection that can't be made weighs more
        ([(0, REFUSED)], 1, Circuit.OPEN, 1),
        # a success ends a run
        ([(0, BAD), (0, OK), (0, BAD)], 0, Circuit.CLOSED, 0),
        # its time is over
        ([(0, REFUSED)], 2, Circuit.HALF_OPEN, 0),
        # the try goes well
        ([(0, REFUSED), (2, OK)], 2, Circuit.CLOSED, 0),
        # or badly: open for longer, up to the longest
        ([(0, REFUSED), (2, BAD)], 2, Circuit.OPEN, 4),
        ([(0, REFUSED), (2, BAD), (6, BAD), (14, BAD)], 14, Circuit.OPEN, 8),
        # a late failure of an open one changes nothing
        ([(0, REFUSED), (1, REFUSED)], 1, Circuit.OPEN, 1),
        # a passed check closes what refused connections
        ([(0, REFUSED), (1, PASSED)], 1, Circuit.CLOSED, 0),
        # but proves nothing of one that took requests and failed them
        ([(0, BAD), (0, BAD), (1, PASSED)], 1, Circuit.OPEN, 1),
        # and the next opening is longer all the same, until a real answer
        ([(0, REFUSED), (1, PASSED), (1, REFUSED)], 1, Circuit.OPEN, 4),
        ([(0, REFUSED), (1, PASSED), (1, OK), (1, REFUSED)], 1, Circuit.OPEN, 2),
        # while it answers others, four times as many have to fail, but no more refused connections
        ([(0, OK), *[(0.9, BAD)] * 7], 1, Circuit.CLOSED, 0),
        ([(0, OK), *[(0.9, BAD)] * 8], 0.9, Circuit.OPEN, 2),
        ([(0, OK), (1, BAD), (1, BAD)], 1, Circuit.OPEN, 2),
        ([(0, OK), (0, REFUSED)], 0, Circuit.OPEN, 2),
        # what has failed there before counts only when nothing has gone well for a minute
        ([(0, OK), *[(10, AGAIN)] * 50], 10, Circuit.CLOSED, 0),
        ([(0, OK), (60, AGAIN), (60, AGAIN)], 60, Circuit.OPEN, 2),
        # or when it is tried out
        ([(0, OK), (1, BAD), (1, BAD), (3, AGAIN)], 3, Circuit.OPEN, 4),
        # a passed check bounds the pause of one that answered others in the last minute
        ([(0, OK), (1, BAD), (1, BAD), (3, BAD), (3.5, PASSED)], 3.5, Circuit.OPEN, 2),
        ([(0, OK), (61, BAD), (61, BAD), (63, BAD), (63.5, PASSED)], 63.5, Circuit.OPEN, 3.5),
        # and of one that refused the key
        ([(0, KEY)], 0, Circuit.OPEN, 300),
        ([(0, KEY), (10, PASSED)], 10, Circuit.OPEN, 2),
        # two of the last few requests that were not answered in time: it is tried out, with one request at a time
        ([(0, OK), (5, LATE)], 5, Circuit.CLOSED, 0),
        ([(0, OK), (5, LATE), (5, OK), (10, LATE)], 10, Circuit.HALF_OPEN, 0),
        ([(0, OK), (5, LATE), *[(6, OK)] * 3, (10, LATE)], 10, Circuit.HALF_OPEN, 0),
        ([(0, OK), (5, LATE), *[(6, OK)] * 4, (10, LATE)], 10, Circuit.CLOSED, 0),
        ([(0, OK), (5, LATE), (5, OK), (10, LATE), (11, OK)], 11, Circuit.CLOSED, 0),
        ([(0, OK), (5, LATE), (5, OK), (10, LATE), (15, LATE)], 15, Circuit.OPEN, 2),
    ],
)
def test_how_the_circuit_moves(steps: list[tuple[float, str]], now: float, circuit: Circuit, open_for: float) -> None:
    health = reduce(after, steps, Record()).health(now)
    assert (health.circuit, health.open_for) == (circuit, open_for)


def test_waiting_callers_are_notified_when_an_endpoint_turns_bad() -> None:
    reported: list[str] = []
    health = LocalHealth(["e"], POLICY, reported.append)
    health.record(outcome(BAD))
    assert reported == []
    health.record(outcome(BAD))
    assert reported == ["e"]


async def test_a_failed_check_opens_at_once() -> None:
    health = LocalHealth(["e"], POLICY)
    await health.check_failed(outcome(BAD))
    assert health["e"].circuit is Circuit.OPEN


def test_a_removed_endpoint_is_forgotten() -> None:
    health = LocalHealth(["e"], POLICY)
    health.remove("e")
    health.record(outcome(BAD))
    health.add("e")
    assert health["e"].failed == 0
