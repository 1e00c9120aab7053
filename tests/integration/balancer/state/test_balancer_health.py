"""Health that several processes share: the circuit, its times, the average, the pauses."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from balancer.outcome import Failure, FailureKind, Outcome
from balancer.state import keys
from balancer.state.health import Circuit, HealthPolicy
from balancer.state.health import shared as health
from balancer.state.health.report import DEFAULT_RATE_LIMIT_PAUSE
from balancer.state.health.shared import SharedHealth, read_health
from balancer.state.redis_connection import AsyncRedis
from balancer.state.scripts import Call, Scripts
from tests.waiting import until

LUA = Path(health.__file__).parent
E = "e"
POLICY = HealthPolicy(failures_to_open=3, connection_weight=2, first_open=0.2, longest_open=0.5, refresh_every=0.02)

Open = Callable[..., SharedHealth]


@pytest.fixture
async def board(redis: AsyncRedis) -> AsyncIterator[Open]:
    """Makes boards of as many processes as wanted; started ones are closed at the end."""
    made: list[SharedHealth] = []

    def make(policy: HealthPolicy = POLICY, started: bool = False, **options: Any) -> SharedHealth:
        new = SharedHealth(redis, options.pop("scripts", None) or Scripts(redis, LUA), [E], policy, **options)
        if started:
            new.start()
            made.append(new)
        return new

    yield make
    for one in made:
        await one.aclose()


def good(latency: float = 0.1) -> Outcome:
    return Outcome(E, latency, 200, b"{}")


def bad(kind: FailureKind = FailureKind.SERVER, status: int | None = 500, retry_after: float | None = None) -> Outcome:
    return Outcome(E, 0.1, status, failure=Failure(kind, "the reason", status, retry_after))


async def tell(board: SharedHealth, *outcomes: Outcome) -> None:
    for outcome in outcomes:
        board.record(outcome)
    await board._report()
    await board.refresh()


async def test_a_run_of_failures_opens_the_circuit(board: Open) -> None:
    mine = board()
    await tell(mine, bad(), bad())
    assert (mine[E].circuit, mine[E].usable) == (Circuit.CLOSED, True)
    await tell(mine, bad())
    assert (mine[E].circuit, mine[E].usable) == (Circuit.OPEN, False)
    assert 0 < mine[E].open_for <= POLICY.first_open


async def test_two_late_answers_among_a_few_leave_it_to_be_tried_out(board: Open) -> None:
    late = bad(FailureKind.TIMEOUT, None)
    patient = HealthPolicy(failures_to_open=100, first_open=0.2, refresh_every=0.02)
    mine, other = board(patient), board(patient)
    await tell(mine, good(), late)
    assert mine[E].circuit is Circuit.CLOSED
    await tell(other, *[good()] * 3)
    await tell(mine, late)
    assert (mine[E].circuit, mine[E].usable) == (Circuit.HALF_OPEN, True)
    await tell(other, good())
    await mine.refresh()
    assert mine[E].circuit is Circuit.CLOSED
    await tell(mine, *[good()] * 9, late)
    assert mine[E].circuit is Circuit.CLOSED
    await tell(mine, late)
    assert mine[E].circuit is Circuit.HALF_OPEN
    await tell(mine, late)
    assert mine[E].circuit is Circuit.OPEN


async def test_a_success_in_between_ends_the_run(board: Open) -> None:
    mine = board()
    await tell(mine, bad(), bad(), good(), bad(), bad())
    assert mine[E].circuit is Circuit.CLOSED
    await tell(mine, good())
    await tell(mine, bad(), bad())
    assert mine[E].circuit is Circuit.CLOSED


async def test_failures_of_several_processes_add_up(board: Open) -> None:
    mine, other = board(), board()
    await tell(mine, bad(), bad())
    await tell(other, bad())
    await mine.refresh()
    assert mine[E].circuit is other[E].circuit is Circuit.OPEN


async def test_connections_weigh_more(board: Open) -> None:
    mine = board()
    await tell(mine, bad(FailureKind.CONNECTION, None), bad(FailureKind.CONNECTION, None))
    assert mine[E].circuit is Circuit.OPEN


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (FailureKind.BAD_REQUEST, 400),
        (FailureKind.CONTENT_FILTER, 400),
        (FailureKind.CONTEXT_TOO_LONG, 400),
        (FailureKind.AUTHENTICATION, 403),  # what the key may not do, perhaps with this model alone
        (FailureKind.RATE_LIMIT, 429),
    ],
)
async def test_refusals_do_not_open_the_circuit(board: Open, kind: FailureKind, status: int) -> None:
    mine = board()
    await tell(mine, *(bad(kind, status) for _ in range(20)))
    assert mine[E].circuit is Circuit.CLOSED


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [(FailureKind.AUTHENTICATION, 401, "key is refused"), (FailureKind.QUOTA, 429, "quota is spent")],
)
async def test_a_bad_key_and_a_spent_quota_take_the_endpoint_out_at_once(
    board: Open, kind: FailureKind, status: int, reason: str
) -> None:
    mine, other = board(), board()
    await tell(mine, good(), bad(kind, status))
    await other.refresh()
    assert other[E].circuit is Circuit.OPEN
    assert other[E].open_for > 200, "not for a moment: the operator has to do something"
    assert reason in other[E].last_error
    await mine.check_passed(E)
    await other.refresh()
    assert other[E].circuit is Circuit.OPEN, "a list of models proves nothing about the key or the account"


async def test_an_open_circuit_is_half_open_after_its_time_and_a_success_closes_it(board: Open) -> None:
    mine = board()
    await tell(mine, bad(), bad(), bad())
    await until(lambda: mine[E].circuit is Circuit.HALF_OPEN)  # without asking Redis again
    assert mine[E].usable
    await tell(mine, good())
    assert mine[E].circuit is Circuit.CLOSED


async def test_a_failure_in_the_half_open_state_opens_it_for_longer_up_to_a_bound(board: Open) -> None:
    mine = board()
    await tell(mine, bad(), bad(), bad())
    times = []
    for _ in range(3):
        await until(lambda: mine[E].circuit is Circuit.HALF_OPEN)
        await tell(mine, bad())
        times.append(mine[E].open_for)
    assert times == pytest.approx([0.4, 0.5, 0.5], abs=0.08)
    await until(lambda: mine[E].circuit is Circuit.HALF_OPEN)
    await tell(mine, good())
    await tell(mine, bad(), bad(), bad())
    assert mine[E].open_for <= POLICY.first_open  # a real answer made it short again


async def test_late_news_does_not_close_an_open_circuit(board: Open) -> None:
    mine = board()
    await tell(mine, bad(), bad(), bad())
    await tell(mine, good())
    assert mine[E].circuit is Circuit.OPEN


async def test_a_passed_check_closes_what_refused_connections_but_not_what_failed(board: Open) -> None:
    mine = board(HealthPolicy(failures_to_open=1, first_open=30.0))
    await tell(mine, bad(FailureKind.CONNECTION, None))
    await mine.check_passed(E)
    await mine.refresh()
    assert mine[E].circuit is Circuit.CLOSED
    await tell(mine, bad())
    await mine.check_passed(E)
    await mine.refresh()
    assert mine[E].circuit is Circuit.OPEN


async def test_a_failed_check_opens_it_at_once(board: Open) -> None:
    mine = board()
    await mine.check_failed(bad(FailureKind.CONNECTION, None))
    await mine.refresh()
    assert mine[E].circuit is Circuit.OPEN


async def test_other_processes_know_within_a_second_and_are_notified(board: Open) -> None:
    policy = HealthPolicy(failures_to_open=1, first_open=5.0)
    reported: list[str] = []
    mine, other = board(policy, started=True), board(policy, started=True, on_unusable=reported.append)
    began = time.monotonic()
    mine.record(bad())
    await until(lambda: not other[E].usable)
    assert time.monotonic() - began < 1.0
    await until(lambda: reported != [])
    assert set(reported) == {E}


async def test_the_latency_is_a_moving_average_of_full_answers(board: Open) -> None:
    mine = board()
    assert mine[E].latency is None
    await tell(mine, good(1.0))
    assert mine[E].latency == pytest.approx(1.0)
    await tell(mine, good(2.0))
    assert mine[E].latency == pytest.approx(1.1)
    await tell(mine, bad(FailureKind.BAD_REQUEST, 400))  # fast, but no answer
    assert mine[E].latency == pytest.approx(1.1)
    await tell(mine, *(good(5.0) for _ in range(100)))
    assert 4.0 < (mine[E].latency or 0) < 5.0
    assert (mine[E].completed, mine[E].failed) == (103, 0)
    assert mine[E].idle_for < 5


@pytest.mark.parametrize(
    ("outcome", "pause"),
    [
        (bad(FailureKind.RATE_LIMIT, 429, 0.7), 0.7),
        (bad(FailureKind.RATE_LIMIT, 429), DEFAULT_RATE_LIMIT_PAUSE),
        (bad(FailureKind.OVERLOADED, 503, 0.3), 0.3),
        (Outcome(E, 0.1, 200, b"{}", used_up_for=0.4), 0.4),
    ],
)
async def test_an_endpoint_that_asks_for_a_pause_gets_it(board: Open, outcome: Outcome, pause: float) -> None:
    mine = board()
    await tell(mine, outcome)
    assert not mine[E].usable
    assert mine[E].circuit is Circuit.CLOSED
    assert mine[E].limited_for == pytest.approx(pause, abs=0.1)
    await until(lambda: mine[E].usable)


async def test_the_longest_pause_counts(board: Open) -> None:
    mine = board()
    await tell(mine, bad(FailureKind.RATE_LIMIT, 429, 5.0))
    await tell(mine, bad(FailureKind.RATE_LIMIT, 429, 1.0))
    assert mine[E].limited_for > 4


async def test_what_an_endpoint_says_is_not_kept(board: Open) -> None:
    """It may quote the request."""
    mine = board()
    await tell(mine, Outcome(E, 0.1, 500, failure=Failure(FailureKind.SERVER, "HTTP 500: can't parse 'my secret prompt'", 500)))
    assert mine[E].last_error == "server_error: HTTP 500"
    await tell(mine, bad(FailureKind.CONNECTION, None))
    assert mine[E].last_error == "connection_error: the reason"
    everything = await redis_text(mine)
    assert "secret" not in everything


async def redis_text(board: SharedHealth) -> str:
    return str(await board._redis.hgetall(keys.health(E)))


class Failing(Scripts):
    """Scripts on a Redis that is away for a while."""

    failures = 0

    async def run_many(self, calls: Sequence[Call]) -> list[Any]:
        if self.failures:
            self.failures -= 1
            raise RedisConnectionError("away")
        return await super().run_many(calls)


async def test_what_could_not_be_published_is_published_later(redis: AsyncRedis, board: Open) -> None:
    scripts = Failing(redis, LUA)
    scripts.failures = 1
    mine = board(scripts=scripts)
    mine.record(good(3.0))
    mine.record(refused := bad(FailureKind.CONNECTION))
    with pytest.raises(RedisConnectionError):
        await mine._report()
    mine.record(refused)
    await tell(mine)
    assert (mine[E].completed, mine[E].failed, mine[E].circuit) == (1, 2, Circuit.OPEN)


async def test_a_board_goes_on_when_redis_is_back(redis: AsyncRedis, board: Open) -> None:
    scripts = Failing(redis, LUA)
    scripts.failures = 1
    mine, other = board(started=True, scripts=scripts), board(started=True)
    for _ in range(3):
        mine.record(bad())
    await until(lambda: other[E].circuit is Circuit.OPEN)


async def test_closing_tells_what_is_left(board: Open) -> None:
    mine, other = board(), board()
    mine.record(good(2.0))
    await mine.aclose()
    await other.refresh()
    assert other[E].completed == 1


async def test_closing_ends_even_when_there_is_news_at_the_same_time(board: Open) -> None:
    for _ in range(5):
        mine = board(started=True)
        await asyncio.sleep(0)
        mine.record(bad())
        async with asyncio.timeout(5):
            await mine.aclose()


def test_nothing_known_is_health() -> None:
    known = read_health({}, time.time())
    assert (known.circuit, known.latency, known.usable, known.last_error) == (Circuit.CLOSED, None, True, "")
    assert known.idle_for > 10**6
