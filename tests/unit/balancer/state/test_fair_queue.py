"""Fair queueing: priority, then whoever holds least, then whoever has waited longest; no slot is counted twice or lost."""

import asyncio
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.state.slots.fair_queue import ONE_FLOW, FairQueue, Flow

BIG, SMALL, URGENT = Flow("big"), Flow("small"), Flow("urgent", 10)


async def granted(queue: FairQueue, waiters: dict[str, "asyncio.Future[bool]"], slots: int) -> list[str]:
    """Give `slots` out and return the names in the order in which they got one."""
    order: list[str] = []
    for _ in range(slots):
        assert queue.grant()
        order += [name for name, waiter in waiters.items() if waiter.done() and name not in order]
    return order


async def test_one_flow_is_first_come_first_served() -> None:
    queue = FairQueue()
    waiters = {str(n): queue.enter(ONE_FLOW) for n in range(4)}
    assert await granted(queue, waiters, 4) == ["0", "1", "2", "3"]
    assert not queue and not queue.grant()


async def test_a_higher_priority_goes_first() -> None:
    queue = FairQueue()
    waiters = {"big": queue.enter(BIG), "urgent": queue.enter(URGENT)}
    queue.take(URGENT)
    assert await granted(queue, waiters, 2) == ["urgent", "big"]


async def test_the_flow_that_holds_the_fewest_slots_is_next() -> None:
    queue = FairQueue()
    for _ in range(5):
        queue.take(BIG)
    waiters = {"big": queue.enter(BIG), **{f"small-{n}": queue.enter(SMALL) for n in range(3)}}
    assert await granted(queue, waiters, 4) == ["small-0", "small-1", "small-2", "big"]


async def test_equals_take_turns() -> None:
    queue = FairQueue()
    waiters = {f"{flow.name}-{n}": queue.enter(flow) for flow in (BIG, SMALL) for n in range(2)}
    assert await granted(queue, waiters, 4) == ["big-0", "small-0", "big-1", "small-1"]


async def test_long_answers_take_no_more_slots_than_short_ones() -> None:
    """Two flows always want more; one's requests take ten times as long. Both come to hold half of the slots."""
    queue = FairQueue()
    ends: list[tuple[int, Flow]] = []
    for now in range(400):
        for at, flow in [end for end in ends if end[0] <= now]:
            ends.remove((at, flow))
            queue.give_back(flow)
        while sum(queue.held.values()) < 10:
            waiters = {flow: queue.enter(flow) for flow in (BIG, SMALL)}
            queue.grant()
            for flow, waiter in waiters.items():
                if waiter.done():
                    ends.append((now + (10 if flow is BIG else 1), flow))
                queue.leave(flow, waiter)
    assert queue.held == {BIG: 5, SMALL: 5}


async def test_who_leaves_learns_whether_a_slot_was_given() -> None:
    queue = FairQueue()
    first, second = queue.enter(BIG), queue.enter(BIG)
    assert queue.grant()
    assert queue.leave(BIG, first) is True
    assert queue.leave(BIG, second) is False
    assert not queue and not queue.grant()


async def test_all_can_be_turned_away() -> None:
    queue = FairQueue()
    waiters = [queue.enter(BIG), queue.enter(SMALL)]
    queue.turn_away()
    assert [waiter.result() for waiter in waiters] == [False, False]
    assert not queue and not queue.held


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(["enter", "grant", "cancel", "give back"]), st.integers(0, 3)), max_size=60))
def test_every_slot_is_held_by_whom_it_was_given_to(steps: list[tuple[str, int]]) -> None:
    asyncio.run(walk(steps))


async def walk(steps: list[tuple[str, int]]) -> None:
    flows = [Flow(f"job-{n}", n % 2) for n in range(4)]
    queue, waiting, held = FairQueue(), [], Counter[Flow]()
    for step, number in steps:
        flow = flows[number]
        if step == "enter":
            waiting.append((flow, queue.enter(flow)))
        elif step == "grant":
            assert queue.grant() is bool(waiting)
        elif step == "cancel" and waiting:
            left = waiting.pop(number % len(waiting))
            assert queue.leave(*left) is False
        elif held[flow]:
            queue.give_back(flow)
            held[flow] -= 1
        for done in [pair for pair in waiting if pair[1].done()]:
            waiting.remove(done)
            held[done[0]] += 1
        assert len(queue) == len(waiting)
        assert queue.held == +held
