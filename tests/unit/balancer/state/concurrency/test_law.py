"""The limit finds the knee of a simulated endpoint, and keeps it when it moves."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.state.concurrency.law import LimitedBy, LimitState, Sample, next_limit
from tests.unit.balancer.state.concurrency.plant import Closed, LateAnswers, Plant, Unsteady

KNEES = (8, 64, 512)
BETWEEN = (11, 20, 45, 48, 90, 180, 360, 700)
"""Knees that the first tries, half and double, pass by."""
KINDS = {
    "plateau": {},  # more in flight is as good, only slower
    "slows": {"decay": 0.3},  # more in flight is done worse, without any 429
    "sheds": {"sheds": True},  # more in flight is refused with 503
}
WARM = 15.0
MEASURED = 30.0


def best_of_fixed(kind: str, knee: float, plant_class: type[Plant] = Plant) -> float:
    """Return the throughput of the best limit that could have been configured, on the same plant."""
    plant = plant_class(knee, **KINDS[kind])
    fixed = Closed(plant, LimitState(round(knee)), law=None)
    fixed.run(5)
    before = plant.done
    fixed.run(10)
    return (plant.done - before) / 10


def against_best(clients: Closed, kind: str, seconds: float = MEASURED) -> tuple[float, float]:
    """Return the throughput from now on, as a share of the best fixed limit's, and the share of requests refused."""
    plant = clients.plant
    done, answered, refused = plant.done, clients.answered, plant.refused
    clients.run(seconds)
    answered, refused = clients.answered - answered, plant.refused - refused
    return (plant.done - done) / seconds / best_of_fixed(kind, plant.knee, type(plant)), refused / (answered + refused)


def done_after_warm_up(clients: Closed, seconds: float) -> float:
    """Return the work that is done in this time."""
    before = clients.run(WARM).plant.done
    return clients.run(seconds).plant.done - before


@pytest.mark.parametrize("knee", KNEES + BETWEEN)
@pytest.mark.parametrize("kind", KINDS)
def test_a_knee_is_found_within_15_seconds(kind: str, knee: int) -> None:
    clients = Closed(Plant(knee, **KINDS[kind])).run(WARM)
    share, refused = against_best(clients, kind)
    assert share >= 0.95, clients.limits
    assert refused < 0.01, clients.limits


@pytest.mark.parametrize("seed", range(12))
def test_the_search_for_a_low_knee_is_over_after_15_seconds(seed: int) -> None:
    def plant() -> Plant:
        return Plant(8, service=0.35, spread=0.15, seed=seed)

    assert done_after_warm_up(Closed(plant()), WARM) >= 0.95 * done_after_warm_up(Closed(plant(), LimitState(8), law=None), WARM)


@pytest.mark.parametrize("seed", range(12))
def test_a_start_with_far_too_many_has_its_best_within_15_seconds(seed: int) -> None:
    """The first answers take two seconds each."""

    def plant() -> Plant:
        return Plant(8, service=0.35, decay=0.3, spread=0.15, seed=seed)

    assert done_after_warm_up(Closed(plant()), WARM) >= 0.975 * done_after_warm_up(Closed(plant(), LimitState(8), law=None), WARM)


@pytest.mark.parametrize(("knee", "moved"), [(8, 32), (64, 256), (64, 16), (512, 128)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_knee_that_moves_is_found_again_within_15_seconds(kind: str, knee: int, moved: int) -> None:
    clients = Closed(Plant(knee, **KINDS[kind])).run(2 * WARM)
    clients.plant.knee = moved
    share, refused = against_best(clients.run(WARM), kind)
    assert share >= 0.95, clients.limits
    assert refused < 0.01, clients.limits


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("knee", "moved"), [(64, 16), (512, 128)])
@pytest.mark.parametrize("plant_class", [Plant, LateAnswers])
def test_an_endpoint_that_has_become_slower_has_its_best_within_15_seconds(
    plant_class: type[Plant], knee: int, moved: int, seed: int
) -> None:
    clients = Closed(plant_class(knee, decay=0.3, seed=seed)).run(WARM + seed)
    clients.plant.knee = moved
    share, _ = against_best(clients.run(WARM), "slows", WARM)
    assert share >= 0.95, clients.limits


@pytest.mark.parametrize("seed", range(5))
def test_an_endpoint_that_becomes_slower_has_its_best_limit_within_15_seconds(seed: int) -> None:
    plant = Plant(64, service=0.35, decay=0.3, spread=0.15, seed=seed)
    clients = Closed(plant).run(WARM + seed / 10)
    moved, plant.knee = plant.now, 16
    done = done_after_warm_up(clients, WARM)
    assert next(limit for at, limit in clients.limits if at > moved) == 32, "no lower limit was tried"
    assert done >= 0.96 * WARM * 16 / 0.35, clients.limits


@pytest.mark.parametrize(("limit", "settled"), [(20, True), (40, False), (40, True)])
def test_a_lower_limit_that_brings_less_than_its_share_is_one_of_a_slower_endpoint(limit: int, settled: bool) -> None:
    state = LimitState(limit, version=7, good=40, rate=100.0, best=100.0, settled=settled)
    slow = Sample(0.5, in_flight=float(limit), finished=20, work=20.0, busy=20.0 * limit / (0.5 * limit))
    found = next_limit(state, slow, most=64)
    assert (found.good, found.rate, found.limit) == (limit, 0.5 * limit, limit // 2)


@pytest.mark.parametrize("knee", [1.0, 2.0])
def test_chance_does_not_lower_the_limit_for_long(knee: float) -> None:
    def done(seed: int, state: LimitState, **law: None) -> float:
        return done_after_warm_up(Closed(Unsteady(knee, seed=seed), state, **law), 2 * MEASURED)

    shares = [
        done(seed, LimitState(32)) / max(done(seed, LimitState(fixed), law=None) for fixed in (16, 32)) for seed in range(20)
    ]
    assert statistics.mean(shares) >= 0.97, shares
    assert min(shares) >= 0.87, shares


@pytest.mark.parametrize("knee", KNEES)
def test_at_rest_the_limit_stays_near_the_knee(knee: int) -> None:
    clients = Closed(Plant(knee, decay=0.3)).run(2 * WARM)
    clients.limits.clear()
    clients.run(60)
    assert all(0.75 * knee <= limit <= 1.3 * knee for _, limit in clients.limits), clients.limits
    assert len(clients.limits) <= 30


def test_nothing_is_learned_while_slots_are_free() -> None:
    state = LimitState(32)
    for _ in range(100):
        state = next_limit(state, Sample(0.5, in_flight=5.0, finished=50, work=50.0, busy=2.5), most=1024)
    assert (state.limit, state.filled, state.limited_by) == (32, False, LimitedBy.START)


@pytest.mark.parametrize("engine", [{"waiting": 28.0}, {"waiting": 0.0, "memory": 0.97}])
def test_no_higher_limit_is_tried_while_the_engine_has_a_queue_or_no_memory(
    engine: dict[str, float],
) -> None:
    queued = Sample(0.5, in_flight=32.0, finished=32, work=32.0, busy=32.0, **engine)  # type: ignore[arg-type]
    state = LimitState(32, up=True)
    for _ in range(20):
        state = next_limit(state, queued, most=1024)
    assert state.limit == 32
    assert state.limited_by is LimitedBy.ENGINE


@pytest.mark.parametrize(("waiting", "tried"), [(None, 16), (20.0, 16), (4.0, 64)])
def test_where_few_wait_inside_the_endpoint_a_higher_limit_is_tried_first(waiting: float | None, tried: int) -> None:
    state = LimitState(32)
    while state.limit == 32:
        state = next_limit(state, Sample(0.5, in_flight=32.0, finished=32, work=32.0, busy=32.0, waiting=waiting), most=1024)
    assert state.limit == tried


@pytest.mark.parametrize(("waiting", "chats", "lowest"), [(None, 0, 20), (30.0, 0, 20), (8.0, 0, 40), (8.0, 1, 36)])
def test_no_lower_limit_is_tried_where_few_wait_inside_the_endpoint(waiting: float | None, chats: int, lowest: int) -> None:
    state = LimitState(40, good=40, rate=100.0, best=100.0, settled=True)
    limits = []
    for _ in range(200):
        rate = 100.0 * min(state.limit, 40) / 40
        answers = {"finished": 400, "work": 400.0, "busy": 400.0 * state.limit / rate}
        inside = None if waiting is None else waiting * state.limit / 40
        state = next_limit(state, Sample(0.5, in_flight=float(state.limit), waiting=inside, chats=chats, **answers), most=1024)
        limits.append(state.limit)
    assert min(limits) == lowest
    assert (max(limits) > 40) is (waiting != 30.0), "higher ones are tried, unless many wait"


def test_an_engine_that_preempts_is_given_fewer() -> None:
    state = next_limit(LimitState(32), Sample(0.5, in_flight=32.0, waiting=0.0, preempted=3), most=1024)
    assert state.limit == 27


def test_one_burst_of_refusals_halves_the_limit_once() -> None:
    state = next_limit(LimitState(64), Sample(0.02, in_flight=10.0, refused=54), most=1024)
    assert (state.limit, state.version, state.limited_by) == (32, 1, LimitedBy.REFUSALS)


def test_beside_chats_tries_go_less_far() -> None:
    known = LimitState(40, good=40, rate=100.0, best=100.0, settled=True, up=True)
    answers = {"finished": 200, "work": 200.0, "busy": 80.0}
    for chats, limit in ((0, 80), (1, 45)):
        state = next_limit(known, Sample(0.5, in_flight=40.0, chats=chats, **answers), most=1024)
        assert state.limit == limit


def test_a_far_try_ends_when_the_first_chat_comes() -> None:
    trying = LimitState(80, good=40, rate=100.0, best=100.0, settled=True, up=True)
    assert next_limit(trying, Sample(0.5, in_flight=80.0), most=1024).limit == 80
    assert next_limit(trying, Sample(0.5, in_flight=80.0, chats=1), most=1024).limit == 40


@pytest.mark.parametrize(("gain", "chats", "kept"), [(1.04, 0, True), (1.04, 1, False), (1.11, 1, True)])
def test_beside_chats_a_higher_limit_has_to_bring_more(gain: float, chats: int, kept: bool) -> None:
    trying = LimitState(45, good=40, rate=100.0, best=100.0, settled=True, up=True)
    rate = gain * trying.rate
    answers = Sample(0.5, in_flight=45.0, finished=200, work=200.0, busy=200.0 * 45 / rate, chats=chats)
    assert next_limit(trying, answers, most=1024).good == (45 if kept else 40)


@pytest.mark.parametrize(
    ("limit", "share", "waiting", "good"),
    [
        (80, 1.09, None, 40),
        (80, 1.09, 80.0, 40),
        (80, 1.09, 20.0, 80),
        (80, 1.05, 20.0, 40),
        (20, 0.98, None, 20),
        (20, 0.98, 20.0, 20),
        (20, 0.98, 0.0, 40),
        (20, 1.02, 0.0, 40),
        (20, 1.04, 0.0, 20),
    ],
)
def test_where_an_engine_has_no_queue_more_is_kept_sooner_and_fewer_later(
    limit: int, share: float, waiting: float | None, good: int
) -> None:
    trying = LimitState(limit, good=40, rate=100.0, best=100.0, settled=True, up=limit > 40)
    answers = Sample(0.5, in_flight=float(limit), finished=200, work=200.0, busy=2.0 * limit / share, waiting=waiting)
    assert next_limit(trying, answers, most=1024).good == good


def test_a_bound_that_has_been_lowered_holds_from_the_next_sample_on() -> None:
    state = LimitState(600, good=512, rate=1000.0, best=1000.0, settled=True, up=True)
    for _ in range(30):
        state = next_limit(state, Sample(0.5, in_flight=64.0, finished=100, work=50.0, busy=100.0), most=64)
        assert state.limit <= 64


def test_the_bound_says_so() -> None:
    clients = Closed(Plant(512), most=48).run(WARM)
    assert (max(limit for _, limit in clients.limits), clients.state.limited_by) == (48, LimitedBy.BOUND)


def test_answers_that_took_no_time_say_nothing_of_a_fall() -> None:
    state = LimitState(16, good=16, rate=100.0, best=100.0, settled=True)
    slow = next_limit(state, Sample(0.5, in_flight=16.0, finished=4, work=4.0, busy=8.0), most=64)
    assert next_limit(slow, Sample(0.5, in_flight=16.0, finished=20), most=64).limit <= 64


samples = st.builds(
    Sample,
    seconds=st.floats(0.001, 10),
    in_flight=st.floats(0, 2000),
    finished=st.integers(0, 5000),
    work=st.floats(0, 1e9),
    busy=st.floats(0, 1e6),
    refused=st.integers(0, 100),
    waiting=st.none() | st.floats(0, 5000),
    preempted=st.integers(0, 10),
    memory=st.none() | st.floats(0, 1),
)


@given(st.lists(samples, max_size=40), st.integers(1, 2000), st.integers(1, 2000))
def test_whatever_is_seen_the_limit_stays_in_its_bounds(seen: list[Sample], start: int, most: int) -> None:
    state = LimitState(start)
    for sample in seen:
        before = state
        state = next_limit(state, sample, most)
        assert 1 <= state.limit <= most
        assert state.version > before.version or state.limit == min(before.limit, most)
