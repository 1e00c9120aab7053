"""The watch over endpoints that have finished nothing for a while."""

from collections.abc import AsyncIterator, Mapping

import pytest

from balancer.fleet import watch
from balancer.fleet.watch import Signs, Watch
from balancer.outcome import Failure, FailureKind
from balancer.providers import EngineLoad
from tests.waiting import until

DOWN = Failure(FailureKind.TIMEOUT, "no whole answer within 2 s")


class Fleet:
    """One endpoint, `gpu1`, whose answers are `problems` and `works` in turn; the last ones stay."""

    def __init__(self) -> None:
        self.endpoint = Signs()
        self.latency = 0.0
        self.problems: list[Failure | None] = [None]
        self.works: list[EngineLoad] = [EngineLoad()]
        self.checks = 0
        self.left: list[Failure] = []

    def signs(self) -> Mapping[str, Signs]:
        return {"gpu1": self.endpoint}

    def usual_latency(self, endpoint: str) -> float:
        return self.latency

    async def answers(self, endpoint: str, timeout: float) -> Failure | None:
        self.checks += 1
        return self.problems.pop(0) if len(self.problems) > 1 else self.problems[0]

    async def engine_load(self, endpoint: str, timeout: float) -> EngineLoad:
        return self.works.pop(0) if len(self.works) > 1 else self.works[0]

    async def leave(self, endpoint: str, failure: Failure) -> None:
        self.left.append(failure)
        while self.endpoint.in_flight:
            self.endpoint.end()


@pytest.fixture
async def fleet(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    """Watched with a hundredth of the real times."""
    for name in ("QUIET_AT_LEAST", "CHECK_EVERY", "STALLED_AFTER", "LOOK_EVERY"):
        monkeypatch.setattr(watch, name, getattr(watch, name) / 100)
    watched = Fleet()
    watching = Watch(watched)
    watching.start()
    yield watched
    await watching.aclose()


async def test_an_endpoint_without_requests_is_never_checked(fleet: Fleet) -> None:
    fleet.problems = [DOWN]
    fleet.endpoint.begin()
    fleet.endpoint.end()
    await until(lambda: watch.time.monotonic() - fleet.endpoint.last > 0.3)
    assert fleet.checks == 0


async def test_one_that_goes_on_finishing_requests_is_never_checked(fleet: Fleet) -> None:
    fleet.problems = [DOWN]
    fleet.endpoint.begin()
    began = watch.time.monotonic()

    def goes_on() -> bool:
        fleet.endpoint.alive()
        return watch.time.monotonic() - began > 0.4

    await until(goes_on)
    assert (fleet.checks, fleet.left) == (0, [])


async def test_one_that_fails_two_checks_in_a_row_is_left(fleet: Fleet) -> None:
    fleet.problems = [None, DOWN, None, DOWN, DOWN]
    fleet.endpoint.begin()
    await until(lambda: fleet.left)
    (failure,) = fleet.left
    assert failure.kind is FailureKind.UNRESPONSIVE
    assert "2 checks failed (no whole answer within 2 s)" in failure.message
    assert not fleet.problems[1:], "a check that went well in between begins anew"


async def test_a_slow_answer_is_waited_for_while_the_endpoint_answers_checks(fleet: Fleet) -> None:
    fleet.endpoint.begin()
    await until(lambda: fleet.checks >= 20)
    assert not fleet.left


async def test_what_usually_takes_long_is_checked_later(fleet: Fleet) -> None:
    fleet.latency = 3600.0
    fleet.problems = [DOWN]
    fleet.endpoint.begin()
    await until(lambda: watch.time.monotonic() - fleet.endpoint.last > 0.4)
    assert fleet.checks == 0


async def test_an_engine_that_makes_no_token_is_left(fleet: Fleet) -> None:
    fleet.works = [EngineLoad(running=4, work=100), EngineLoad(running=4, work=101), EngineLoad(running=4, work=102)]
    fleet.endpoint.begin()
    await until(lambda: fleet.left)
    assert "its engine stands still: no token for" in fleet.left[0].message


@pytest.mark.parametrize(
    "works",
    [[EngineLoad(running=4, work=float(n)) for n in range(1000)], [EngineLoad(running=0, work=100.0)], [EngineLoad()]],
    ids=["tokens rise", "nothing runs there", "it does not say"],
)
async def test_an_engine_that_works_or_does_not_say_is_not_left(fleet: Fleet, works: list[EngineLoad]) -> None:
    fleet.works = works
    fleet.endpoint.begin()
    await until(lambda: fleet.checks >= 30)
    assert not fleet.left


async def test_one_that_was_left_is_watched_again(fleet: Fleet) -> None:
    fleet.problems = [DOWN]
    fleet.endpoint.begin()
    await until(lambda: len(fleet.left) == 1)
    fleet.endpoint.begin()
    await until(lambda: len(fleet.left) == 2)


async def test_an_examination_that_breaks_is_begun_again(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    answers = fleet.answers

    async def breaks(endpoint: str, timeout: float) -> Failure | None:
        fleet.answers = answers  # type: ignore[method-assign]
        raise KeyError(endpoint)

    fleet.answers = breaks  # type: ignore[method-assign]
    fleet.problems = [DOWN]
    fleet.endpoint.begin()
    await until(lambda: fleet.left)
    assert "the examination of gpu1 came to nothing" in caplog.text
