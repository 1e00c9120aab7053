"""What to cut next: the ranges tile the job, no endpoint holds more than its credit, and shares come out as they should."""

import heapq
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.routing import BalancingStrategy
from jobs.dispatch.planning import EndpointLoad, JobNeed, Planned, plan
from jobs.dispatch.sizing import LEAST_SECONDS, MAX_SHARD, ReturnedRange, credit

WEIGHTED = BalancingStrategy.WEIGHTED


def need(total: int = 10_000, names: str = "a", **changes: object) -> JobNeed:
    return replace(JobNeed("job", 0, total, endpoints=frozenset(names)), **changes)  # type: ignore[arg-type]


def load(name: str = "a", **changes: object) -> EndpointLoad:
    return replace(EndpointLoad(name, latency=1.0), **changes)  # type: ignore[arg-type]


def test_ranges_that_came_back_go_first_and_keep_their_attempt() -> None:
    job = need(100, cursor=60, returned=(ReturnedRange(0, 10, 3), ReturnedRange(30, 40, 1)))
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


# ---- several jobs ----


def full_load(job: JobNeed, **changes: object) -> tuple[EndpointLoad, JobNeed]:
    """An endpoint whose credit is used up by `job`, and the job."""
    open_lines = credit(load(**changes), job.remaining, 0.0)
    return load(open_lines=open_lines, **changes), replace(job, open_lines={"a": open_lines})


def lines_by_job(shards: Sequence[Planned]) -> Counter[str]:
    found: Counter[str] = Counter()
    for shard in shards:
        found[shard.job_id] += shard.end - shard.first
    return found


@pytest.mark.parametrize("priority", [0, 10])
def test_the_load_of_one_job_does_not_count_against_the_credit_of_another(priority: int) -> None:
    small = replace(need(20, priority=priority), job_id="small")
    big = replace(need(6000), job_id="big", open_lines={"a": 800})
    endpoint = load(open_lines=800, max_concurrency=64, latency=0.3)
    for needs in ([small, big], [big, small]):
        planned = plan(WEIGHTED, needs, [endpoint], {})
        assert planned.shards[0].job_id == "small"
        assert lines_by_job(planned.shards)["small"] == 20


@pytest.mark.parametrize("strategy", list(BalancingStrategy))
@pytest.mark.parametrize("total", [1, 20, 31, 500])
def test_a_job_that_comes_to_a_full_endpoint_gets_lines_at_once(strategy: BalancingStrategy, total: int) -> None:
    endpoint, big = full_load(replace(need(20_000), job_id="big"), max_concurrency=64, latency=0.3)
    new = replace(need(total), job_id="new")
    planned = plan(strategy, [big, new], [endpoint], {}, workers=2)
    assert lines_by_job(planned.shards) == {"new": min(total, 64)}


def test_beyond_its_credit_an_endpoint_takes_no_more_than_its_slots() -> None:
    endpoint, big = full_load(replace(need(20_000), job_id="big"))
    crowd = [replace(need(1000), job_id=f"new-{n}") for n in range(10)]
    planned = plan(WEIGHTED, [big, *crowd], [endpoint], {})
    assert sum(lines_by_job(planned.shards).values()) == endpoint.max_concurrency
    full = replace(endpoint, open_lines=endpoint.open_lines + endpoint.max_concurrency)
    assert plan(WEIGHTED, [big, *crowd], [full], {}).shards == ()


def test_a_job_that_holds_its_share_gets_nothing_beyond_the_credit() -> None:
    endpoint, alone = full_load(need(20_000))
    assert plan(WEIGHTED, [alone], [endpoint], {}).shards == ()


def test_a_higher_priority_goes_first_and_the_lower_waits_until_it_wants_no_more() -> None:
    high, low = replace(need(50, priority=1), job_id="high"), replace(need(10_000), job_id="low")
    planned = plan(WEIGHTED, [low, high], [load()], {})
    order = [shard.job_id for shard in planned.shards]
    assert order == sorted(order)  # all of high, then low
    endpoint, high = full_load(replace(need(20_000, priority=1), job_id="high"))
    assert plan(WEIGHTED, [high, low], [endpoint], {}).shards == ()


def test_the_job_with_the_fewest_open_lines_goes_first() -> None:
    much, little = (replace(need(10_000), job_id=name, open_lines={"a": lines}) for name, lines in (("much", 90), ("little", 10)))
    planned = plan(WEIGHTED, [much, little], [load(open_lines=100)], {})
    held = lines_by_job(planned.shards)
    assert planned.shards[0].job_id == "little"
    assert 90 + held["much"] == pytest.approx(10 + held["little"], abs=max(s.end - s.first for s in planned.shards))


def test_a_job_of_large_answers_is_bound_by_its_own_lines_only() -> None:
    heavy = replace(need(10_000), job_id="heavy", result_bytes=1e9, open_lines={"a": 32})
    assert plan(WEIGHTED, [heavy], [load(open_lines=32)], {}).shards == ()
    others = load(open_lines=100)
    first = plan(WEIGHTED, [replace(heavy, open_lines={})], [others], {}).shards
    assert first and all(shard.end - shard.first == 1 for shard in first)


def test_a_stalled_endpoint_is_not_waited_for() -> None:
    full = load("a", weight=5.0, open_lines=10_000)
    other = load("b")
    turns = {"a": 500.0, "b": -500.0}
    assert plan(WEIGHTED, [need(names="ab")], [full, other], turns).shards == ()
    stalled = replace(full, idle_for=10.0)
    assert {s.endpoint for s in plan(WEIGHTED, [need(names="ab")], [stalled, other], turns).shards} == {"b"}


def test_the_first_endpoint_that_answers_is_not_given_what_is_the_others() -> None:
    """All have been given their first lines a moment ago, and one has answered some."""
    known = load("c", weight=3.0, latency=0.1, max_concurrency=16, open_lines=24, idle_for=0.0)
    others = [
        load(n, weight=w, latency=None, max_concurrency=16, open_lines=32, idle_for=0.3) for n, w in (("a", 1.0), ("b", 2.0))
    ]
    shards = plan(WEIGHTED, [need(1_400, names="abc")], [*others, known], {"a": -16.0, "b": 0.0, "c": 16.0}).shards
    assert sum(shard.end - shard.first for shard in shards) <= 140
    alike = [replace(each, weight=1.0) for each in (*others, known)]
    shards = plan(WEIGHTED, [need(1_400, names="abc")], alike, {}).shards
    assert sum(shard.end - shard.first for shard in shards) <= 1_400 / 3


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
        largest = credit(endpoint, sum(job.remaining for job in jobs), 0.0) + endpoint.max_concurrency
        rounding = max(1, endpoint.max_concurrency // 8, int(endpoint.pace * LEAST_SECONDS))  # the smallest shard
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
        open_lines = {e.name: sum(e.shards) for e in endpoints}
        job = JobNeed("job", cursor, total, endpoints=frozenset(by_name), open_lines=open_lines)
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


def test_lines_that_end_one_by_one_are_not_followed_by_shards_of_a_few() -> None:
    """A slow endpoint of few slots: each line that ends leaves room for one, and a shard for each would soon be all there are."""
    slow, job = EndpointLoad("a", max_concurrency=16, latency=0.2), need(10_000)
    sizes, open_lines = [], 0
    for _ in range(2000):
        job = replace(job, open_lines={"a": open_lines})
        planned = plan(WEIGHTED, [job], [replace(slow, open_lines=open_lines)], {})
        for shard in planned.shards:
            sizes.append(shard.end - shard.first)
            open_lines += sizes[-1]
            job = replace(job, cursor=shard.end)
        open_lines -= 1
    assert min(sizes) >= 40, sizes
    assert open_lines >= 2 * slow.max_concurrency
