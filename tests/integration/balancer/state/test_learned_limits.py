"""A limit that several processes learn together through Redis."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from balancer.endpoint import AutoConcurrency, Endpoint
from balancer.outcome import Failure, FailureKind, Outcome, Usage
from balancer.state import concurrency, keys, slots
from balancer.state.concurrency import LearnedLimits, LimitedBy, LimitState
from balancer.state.concurrency.law import Sample
from balancer.state.concurrency.observed import Counts
from balancer.state.concurrency.shared import RedisLimitStore, read_limit, write_limit
from balancer.state.redis_connection import AsyncRedis
from balancer.state.scripts import Scripts
from balancer.state.slots.shared import SharedSlots
from tests.waiting import until

E = "e"
ENDPOINT = Endpoint("http://e/v1", name=E)
FIXED = Endpoint("http://f/v1", name="f", max_concurrency=7)
FOLDERS = (Path(concurrency.__file__).parent, Path(slots.__file__).parent)
ANSWER = Outcome(E, 0.1, 200, b"{}", usage=Usage(160, 9))
REFUSAL = Outcome(E, 0.001, 503, failure=Failure(FailureKind.OVERLOADED, "busy", 503))

Open = Callable[..., LearnedLimits]


@pytest.fixture
def store(redis: AsyncRedis) -> RedisLimitStore:
    return RedisLimitStore(Scripts(redis, *FOLDERS))


@pytest.fixture
async def process(store: RedisLimitStore) -> AsyncIterator[Open]:
    """Starts as many processes as wanted; `applied` receives the limits that its slots are set to."""
    made: list[LearnedLimits] = []

    def make(applied: dict[str, int] | None = None) -> LearnedLimits:
        limits = LearnedLimits(store, [ENDPOINT, FIXED], (applied if applied is not None else {}).__setitem__)
        limits.start()
        made.append(limits)
        return limits

    yield make
    for one in made:
        await one.aclose()


def test_a_state_is_read_as_it_was_written() -> None:
    seen = Sample(1.0, 2.0, 3, 4.0, 5.0, 6, 7.0, 8, 9)
    state = LimitState(64, 5, 32, 1.5, 1.6, 1.25, True, 2, 0.9, None, 3, 80, 0.2, True, True, True, LimitedBy.ENGINE, True, seen)
    assert read_limit(write_limit(state)) == state
    newer = write_limit(state).replace(b'{"limit"', b'{"of_a_later_version":1,"limit"', 1)
    assert read_limit(newer) == state


async def test_a_number_is_a_hard_limit_and_costs_nothing(process: Open, redis: AsyncRedis) -> None:
    limits = process()
    version = limits.begin("f")
    assert not limits.end("f", version, REFUSAL)
    assert (limits["f"].value, limits["f"].limited_by) == (7, None)
    assert not await redis.exists(keys.limit("f"))


async def test_a_refusal_lowers_the_limit_of_all_processes_at_once(process: Open) -> None:
    applied_here: dict[str, int] = {}
    applied_there: dict[str, int] = {}
    here, there = process(applied_here), process(applied_there)
    waiting = there.begin(E)
    assert here.end(E, here.begin(E), REFUSAL)
    await until(lambda: here[E].value == 16, 5)
    await until(lambda: there[E].value == 16, 5)
    there.end(E, waiting, ANSWER)
    assert (applied_here[E], applied_there[E], there[E].limited_by) == (16, 16, LimitedBy.REFUSALS)


async def test_refusals_of_an_older_limit_do_not_lower_the_new_one(process: Open) -> None:
    here = process()
    versions = [here.begin(E) for _ in range(10)]
    here.end(E, versions[0], REFUSAL)
    await until(lambda: here[E].value == 16, 5)
    for version in versions[1:]:
        here.end(E, version, REFUSAL)
    last = here.begin(E)
    await until(lambda: here._auto[E].state.seen.seconds > 0.6, 5)
    here.end(E, last, None)
    assert here[E].value == 16


async def test_a_new_process_begins_with_what_is_known(process: Open, store: RedisLimitStore) -> None:
    assert await store.decide(E, 0, LimitState(200, 3, limited_by=LimitedBy.THROUGHPUT))
    applied: dict[str, int] = {}
    limits = process(applied)
    await limits.refresh()
    assert (limits[E].value, applied[E]) == (200, 200)


async def test_of_two_decisions_on_the_same_sample_one_counts(store: RedisLimitStore) -> None:
    assert await store.decide(E, 0, LimitState(64, 1))
    assert not await store.decide(E, 0, LimitState(16, 1))
    found = await store.read(E)
    assert found is not None and found.limit == 64


async def test_reports_are_summed_up_and_counts_of_another_version_left_out(store: RedisLimitStore) -> None:
    first = LimitState(32)
    await store.observe(E, Counts(0, 1.0, 2, 30.0, 0.5, 0), first)
    await store.observe(E, Counts(7, 1.0, 50, 500.0, 5.0, 9), first)
    turn = await store.observe(E, Counts(0, 0.5, 1, 10.0, 0.25, 1), first)
    assert turn.sample is not None
    assert (turn.sample.finished, turn.sample.work, turn.sample.busy, turn.sample.refused) == (3, 40.0, 0.75, 1)
    assert turn.sample.in_flight * turn.sample.seconds == pytest.approx(2.5)


async def test_slots_follow_the_limit_that_was_learned(store: RedisLimitStore, redis: AsyncRedis) -> None:
    shared = SharedSlots(Scripts(redis, *FOLDERS), "p1", [Endpoint("http://e/v1", name=E, max_concurrency=AutoConcurrency(2, 8))])
    shared.start()
    for _ in range(2):
        assert await shared.acquire(E)
    shared.announce(E, 10)
    assert not shared.try_acquire(E)
    await store.decide(E, 0, LimitState(4, 1))
    shared.resize(E, 4)
    for _ in range(2):
        await until(lambda: shared.try_acquire(E), 5)
    assert not shared.try_acquire(E)
    shared.resize(E, 1)
    for _ in range(4):
        shared.release(E)
    assert shared.try_acquire(E) and not shared.try_acquire(E), "one at a time from now on"
    await shared.aclose()


async def test_people_do_not_wait_for_the_slots_of_a_job(store: RedisLimitStore, redis: AsyncRedis) -> None:
    auto = Endpoint("http://e/v1", name=E, max_concurrency=AutoConcurrency(8, 8))
    bulk = SharedSlots(Scripts(redis, *FOLDERS), "worker", [auto])
    chats = SharedSlots(Scripts(redis, *FOLDERS), "api", [auto], interactive=True)
    bulk.start()
    chats.start()
    bulk.announce(E, 100)
    for _ in range(8):
        assert await bulk.acquire(E)
    assert await chats.acquire(E), "all eight are the job's, and none of its requests has ended"
    await chats.aclose()
    await bulk.aclose()


async def test_a_limit_that_was_learned_under_a_higher_bound_is_not_used_whole(store: RedisLimitStore, redis: AsyncRedis) -> None:
    await store.decide(E, 0, LimitState(100, 1))
    shared = SharedSlots(Scripts(redis, *FOLDERS), "p1", [Endpoint("http://e/v1", name=E, max_concurrency=AutoConcurrency(2, 3))])
    shared.start()
    for _ in range(3):
        assert await shared.acquire(E)
    shared.announce(E, 10)
    await shared.refresh()
    assert not shared.try_acquire(E)
    await shared.aclose()


async def test_answers_that_come_while_a_limit_changes_do_not_count_for_the_new_one(process: Open) -> None:
    limits = process()
    version = limits.begin(E)
    limits.end(E, version, ANSWER)
    limits._auto[E].observed.change_version(version + 1)
    counts = limits._auto[E].observed.counts
    assert (counts.version, counts.finished, counts.work) == (version + 1, 0, 0.0)
