"""What an engine says of itself, on its way to the law."""

from dataclasses import replace

import pytest

from balancer.endpoint import Endpoint
from balancer.providers.base import EngineLoad
from balancer.state.concurrency.law import LimitState, Sample
from balancer.state.concurrency.learned_limits import LearnedLimits, Turn
from balancer.state.concurrency.observed import Counts
from tests.waiting import until

E = "e"
SAMPLE = Sample(0.5, in_flight=16.0, finished=40, work=40.0, busy=8.0)


class Turns:
    """A store that lets the process decide each time, under another version of the limit if `changing`."""

    def __init__(self, changing: bool, in_flight: float = 16.0) -> None:
        self.changing = changing
        self.sample = replace(SAMPLE, in_flight=in_flight)
        self.state = LimitState(16)
        self.decided: list[LimitState] = []

    async def read(self, endpoint: str) -> LimitState | None:
        return None

    async def observe(self, endpoint: str, counts: Counts, first: LimitState) -> Turn:
        if self.changing:
            self.state = replace(self.state, version=self.state.version + 1)
        return Turn(self.state, 0, self.sample, True)

    async def decide(self, endpoint: str, revision: int, state: LimitState) -> bool:
        self.decided.append(state)
        return False


async def decided(changing: bool, *loads: EngineLoad, in_flight: float = 16.0) -> list[LimitState]:
    """Return what was decided as the engine said these things, one after the other."""
    turns, said = Turns(changing, in_flight), iter(loads)
    limits = LearnedLimits(turns, [Endpoint("http://e/v1", name=E)], lambda name, limit: None)

    async def ask(endpoint: str, *, is_bound: bool) -> EngineLoad:
        assert is_bound == (in_flight > 12.0)
        return next(said, loads[-1])

    limits.ask_engine = ask
    limits.begin(E)
    limits.start()
    await until(lambda: len(turns.decided) >= len(loads), what="the decisions")
    await limits.aclose()
    return turns.decided


@pytest.mark.parametrize("changing", [False, True])
async def test_what_waits_inside_the_engine_counts_the_second_time(changing: bool) -> None:
    first, second, *_ = await decided(changing, EngineLoad(waiting=12), EngineLoad(waiting=10))
    assert (first.queued, second.queued) == (None, True)


async def test_what_waits_for_a_moment_does_not_count() -> None:
    found = await decided(True, EngineLoad(waiting=12), EngineLoad(waiting=1), EngineLoad(waiting=12))
    assert not any(state.queued for state in found[:3])


@pytest.mark.parametrize("in_flight", [12.0, 16.0])
@pytest.mark.parametrize(("changing", "limit"), [(False, 13), (True, 16)])
async def test_preemptions_count_under_one_limit_only(changing: bool, limit: int, in_flight: float) -> None:
    _, second, *_ = await decided(changing, EngineLoad(preemptions=5), EngineLoad(preemptions=8), in_flight=in_flight)
    assert second.limit == limit
