"""What to cut next: the ranges tile the job, nobody holds more than its credit, and shares come out as they should."""

import heapq
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.strategy import BalancingStrategy
from jobs.planning import MAX_SHARD, MAX_SHARD_BYTES, EndpointLoad, JobNeed, credit, plan, shard_size

WEIGHTED = BalancingStrategy.WEIGHTED


def need(total: int = 10_000, names: str = "a", **changes: object) -> JobNeed:
    return replace(JobNeed("job", 0, total, endpoints=frozenset(names)), **changes)  # type: ignore[arg-type]


def load(name: str = "a", **changes: object) -> EndpointLoad:
    return replace(EndpointLoad(name, latency=1.0), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("endpoint", "remaining", "expected"),
    [
        (load(latency=None), 10**6, 64),  # nothing is known yet: two rounds of its slots
        (load(), 10**6, 32 + 128),  # its slots and four seconds of work
        (load(latency=100.0), 10**6, 32 + 32),  # slow: as much again as its slots
        (load(), 20, 32 + 10),  # near the end: half of what is left
        (load(), 0, 32),
        (load(probing=True), 10**6, 4),  # being tried out
        (load(probing=True, max_concurrency=1), 10**6, 1),
    ],
)
def test_credit(endpoint: EndpointLoad, remaining: int, expected: int) -> None:
    assert credit(endpoint, remaining, endpoint.pace) == expected


@pytest.mark.parametrize(
    ("endpoint", "job", "most"),
    [
        (load(max_concurrency=100_000, latency=0.01), need(10**8), MAX_SHARD),
        (load(), need(3), 3),  # no more than there are
        (load(max_concurrency=1, latency=10.0), need(50_000), 1),
        (load(max_concurrency=1, latency=10.0), need(10**6), 10),  # so that there are not too many parts
        (load(max_concurrency=10_000), need(10**6, line_bytes=MAX_SHARD_BYTES / 10), 10),
        (load(max_concurrency=10_000), need(10**6, line_bytes=MAX_SHARD_BYTES * 10.0), 1),
    ],
)
def test_shards_have_a_bound(endpoint: EndpointLoad, job: JobNeed, most: int) -> None:
    assert 1 <= shard_size(endpoint, job, endpoint.pace) <= most


def test_shards_shrink_towards_the_end() -> None:
    sizes = [shard_size(load(), need(total), 32.0) for total in (100_000, 300, 100, 40, 8, 1)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1 and sizes[0] > 4 * sizes[-2]


def test_ranges_that_came_back_go_first_and_keep_their_attempt() -> None:
    job = need(100, cursor=60, returned=((0, 10, 3), (30, 40, 1)))
    shards = plan(WEIGHTED, [job], [load()], {}).shards
    assert [(s.first, s.end, s.attempt, s.came_back) for s in shards[:2]] == [(0, 10, 3, True), (30, 40, 1, True)]
    assert shards[2].first == 60 and not shards[2].came_back


def test_without_anyone_who_serves_it_nothing_is_planned() -> None:
    assert plan(WEIGHTED, [need(names="z")], [load()], {}).shards == ()
    assert plan(WEIGHTED, [need()], [], {}).shards == ()
    assert plan(WEIGHTED, [], [load()], {}).shards == ()


def test_a_lower_tier_is_used_before_a_higher_one() -> None:
    loads = [load("a", priority=1), load("b", priority=0)]
    assert {s.endpoint for s in plan(WEIGHTED, [need(names="ab")], loads, {}).shards} == {"b"}
    assert {s.endpoint for s in plan(WEIGHTED, [need(names="a")], loads, {}).shards} == {"a"}


def test_a_full_lower_tier_is_waited_for() -> None:
    loads = [load("a", priority=1), load("b", priority=0, open_lines=10_000)]
    assert plan(BalancingStrategy.ROUND_ROBIN, [need(names="ab")], loads, {}).shards == ()


def test_jobs_are_served_in_turn() -> None:
    jobs = [replace(need(10_000), job_id=name) for name in "xyz"]
    assert [s.job_id for s in plan(WEIGHTED, jobs, [load()], {}, most=4).shards] == list("xyzx")


def test_a_stalled_endpoint_is_not_waited_for() -> None:
    full = load("a", weight=5.0, open_lines=10_000)
    other = load("b")
    turns = {"a": 500.0, "b": -500.0}
    assert plan(WEIGHTED, [need(names="ab")], [full, other], turns).shards == ()
    stalled = replace(full, idle_for=10.0)
    assert {s.endpoint for s in plan(WEIGHTED, [need(names="ab")], [stalled, other], turns).shards} == {"b"}


def test_endpoints_of_equal_weight_never_wait_for_each_other() -> None:
    loads = [load("a", open_lines=10_000), load("b")]
    shards = plan(WEIGHTED, [need(names="ab")], loads, {"a": 500.0, "b": -500.0}).shards
    assert {s.endpoint for s in shards} == {"b"}


LOADS = st.builds(
    EndpointLoad,
    name=st.sampled_from("abcd"),
    weight=st.floats(0.1, 10),
    max_concurrency=st.integers(1, 200),
    priority=st.integers(0, 1),
    latency=st.none() | st.floats(0.001, 100),
    open_lines=st.integers(0, 300),
    open_shards=st.integers(0, 10),
    probing=st.booleans(),
    idle_for=st.floats(0, 100),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    strategy=st.sampled_from(list(BalancingStrategy)),
    loads=st.lists(LOADS, max_size=4, unique_by=lambda found: found.name),
    totals=st.lists(st.integers(1, 100_000), min_size=1, max_size=4),
    workers=st.integers(1, 20),
    turns=st.dictionaries(st.sampled_from("abcd"), st.floats(-5000, 5000)),
    line_bytes=st.floats(1, 1e8),
)
def test_any_plan_tiles_the_jobs_within_the_credit(
    strategy: BalancingStrategy,
    loads: list[EndpointLoad],
    totals: list[int],
    workers: int,
    turns: dict[str, float],
    line_bytes: float,
) -> None:
    jobs = [JobNeed(f"j{i}", total // 3, total, (), frozenset("abc"), line_bytes) for i, total in enumerate(totals)]
    planned = plan(strategy, jobs, loads, turns, workers)
    by_name = {found.name: found for found in loads}
    cursors = {job.job_id: job.cursor for job in jobs}
    given_lines: Counter[str] = Counter()
    for shard in planned.shards:
        assert shard.endpoint in by_name and shard.endpoint in "abc"
        assert shard.first == cursors[shard.job_id] < shard.end
        assert shard.end - shard.first <= MAX_SHARD
        cursors[shard.job_id] = shard.end
        given_lines[shard.endpoint] += shard.end - shard.first
    for job in jobs:
        assert cursors[job.job_id] <= job.total
    for name, lines in given_lines.items():
        endpoint = by_name[name]
        largest = max(credit(endpoint, job.remaining, 0.0) for job in jobs)
        rounding = max(1, endpoint.max_concurrency // 8)
        assert endpoint.open_lines + lines <= largest + rounding
    assert all(abs(turn) <= 5000 + 2 * MAX_SHARD for turn in planned.turns.values())


# ---- a whole job, simulated ----


@dataclass
class Simulated:
    """An endpoint that takes `latency` seconds a line with `slots` at once, and does its shards one after the other."""

    name: str
    latency: float
    slots: int = 32
    weight: float = 1.0
    shards: list[int] = field(default_factory=list)
    done: int = 0
    last_done: float = 0.0
    sizes: list[int] = field(default_factory=list)


def simulate(strategy: BalancingStrategy, total: int, endpoints: Sequence[Simulated]) -> float:
    """Run a job to its end and return the seconds that it took."""
    by_name = {e.name: e for e in endpoints}
    turns: dict[str, float] = {}
    cursor, now = 0, 0.0
    events: list[tuple[float, int, str]] = []
    order = itertools.count()
    busy: set[str] = set()

    def dispatch() -> None:
        nonlocal cursor, turns
        loads = [
            EndpointLoad(
                e.name,
                e.weight,
                e.slots,
                latency=e.latency if e.done else None,
                open_lines=sum(e.shards),
                open_shards=len(e.shards),
                idle_for=now - e.last_done,
            )
            for e in endpoints
        ]
        job = JobNeed("job", cursor, total, endpoints=frozenset(by_name))
        if job.remaining:
            planned = plan(strategy, [job], loads, turns)
            turns = planned.turns
            for shard in planned.shards:
                assert shard.first == cursor
                cursor = shard.end
                by_name[shard.endpoint].shards.append(shard.end - shard.first)
                by_name[shard.endpoint].sizes.append(shard.end - shard.first)
        for e in endpoints:
            if e.shards and e.name not in busy:
                busy.add(e.name)
                heapq.heappush(events, (now + e.latency / e.slots, next(order), e.name))

    dispatch()
    while events:
        now, _, name = heapq.heappop(events)
        e = by_name[name]
        e.done += 1
        e.last_done = now
        e.shards[0] -= 1
        ended = e.shards[0] == 0
        if ended:
            e.shards.pop(0)
        if e.shards:
            heapq.heappush(events, (now + e.latency / e.slots, next(order), name))
        else:
            busy.discard(name)
        if ended:
            dispatch()
    assert cursor == total == sum(e.done for e in endpoints)
    return now


def test_lines_follow_the_weights_when_all_are_equally_fast() -> None:
    fleet = [Simulated(name, 0.5, weight=weight) for name, weight in (("a", 1.0), ("b", 2.0), ("c", 3.0))]
    simulate(WEIGHTED, 12_000, fleet)
    for e, share in zip(fleet, (2000, 4000, 6000), strict=True):
        assert abs(e.done - share) <= 0.05 * share


@pytest.mark.parametrize("strategy", list(BalancingStrategy))
def test_a_slow_endpoint_takes_less_and_does_not_hold_up_the_end(strategy: BalancingStrategy) -> None:
    fast, slow = Simulated("fast", 0.1), Simulated("slow", 1.0)
    seconds = simulate(strategy, 20_000, [fast, slow])
    ideal = 20_000 / (32 / 0.1 + 32 / 1.0)
    assert fast.done > 8 * slow.done
    assert seconds < 1.1 * ideal + 2 * slow.latency
    assert abs(fast.last_done - slow.last_done) < 3 * slow.latency


@pytest.mark.parametrize("strategy", list(BalancingStrategy))
def test_equals_share_equally(strategy: BalancingStrategy) -> None:
    fleet = [Simulated(name, 0.3) for name in "abcd"]
    simulate(strategy, 10_000, fleet)
    assert all(abs(e.done - 2500) <= 250 for e in fleet)


def test_the_tail_is_cut_finely() -> None:
    fleet = [Simulated(name, 0.5) for name in "ab"]
    simulate(WEIGHTED, 20_000, fleet)
    for e in fleet:
        assert max(e.sizes[-2:]) <= max(e.sizes) / 4


@pytest.mark.parametrize("total", [1, 2, 3, 31, 33, 100])
def test_small_jobs_come_to_their_end(total: int) -> None:
    fleet = [Simulated("a", 0.2, slots=4), Simulated("b", 0.2, slots=1, weight=3.0)]
    simulate(WEIGHTED, total, fleet)
