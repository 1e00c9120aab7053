"""Slots of one process."""

import asyncio
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.endpoint import Endpoint
from balancer.state.slots.local import LocalSlots

E = "e"


def endpoint(limit: int) -> Endpoint:
    return Endpoint("http://gpu1:8000/v1", name=E, max_concurrency=limit)


async def test_no_more_than_the_limit_are_in_flight() -> None:
    slots = LocalSlots([endpoint(2)])
    assert [slots.try_acquire(E) for _ in range(3)] == [True, True, False]
    assert slots.in_use(E) == slots.load(E) == 2


async def test_who_came_first_is_served_first() -> None:
    slots = LocalSlots([endpoint(1)])
    await slots.acquire(E)
    order: list[int] = []

    async def wait(number: int) -> None:
        await slots.acquire(E)
        order.append(number)
        slots.release(E)

    async with asyncio.TaskGroup() as tasks:
        for number in range(3):
            tasks.create_task(wait(number))
        await asyncio.sleep(0)
        slots.release(E)
    assert order == [0, 1, 2]
    assert slots.in_use(E) == 0


async def test_those_who_wait_are_not_overtaken() -> None:
    slots = LocalSlots([endpoint(1)])
    await slots.acquire(E)
    waiting = asyncio.create_task(slots.acquire(E))
    await asyncio.sleep(0)
    slots.release(E)
    assert not slots.try_acquire(E)
    assert await waiting


async def test_who_is_turned_away_has_no_slot() -> None:
    slots = LocalSlots([endpoint(1)])
    await slots.acquire(E)
    waiting = asyncio.create_task(slots.acquire(E))
    await asyncio.sleep(0)
    slots.turn_away(E)
    assert not await waiting
    slots.release(E)
    assert slots.in_use(E) == 0


async def test_a_slot_handed_to_one_that_is_cancelled_comes_back() -> None:
    slots = LocalSlots([endpoint(1)])
    await slots.acquire(E)
    waiting = asyncio.create_task(slots.acquire(E))
    await asyncio.sleep(0)
    slots.release(E)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert slots.in_use(E) == 0
    assert slots.try_acquire(E)


async def test_an_endpoint_that_comes_back_knows_its_requests_in_flight() -> None:
    slots = LocalSlots([endpoint(4)])
    await slots.acquire(E)
    slots.remove(E)
    slots.add(endpoint(2))
    await slots.acquire(E)
    assert slots.in_use(E) == 2
    assert not slots.try_acquire(E)
    slots.release(E)
    slots.release(E)
    assert slots.in_use(E) == 0


async def test_a_removed_endpoint_counts_until_its_last_request_has_ended() -> None:
    slots = LocalSlots([endpoint(2)])
    await slots.acquire(E)
    slots.remove(E)
    assert slots.in_use(E) == 1
    slots.release(E)
    assert slots.in_use(E) == 0
    slots.add(endpoint(2))
    assert slots.in_use(E) == 0


STEPS = st.lists(st.sampled_from(["come", "end", "crash", "tick", "turn away", "replace"]), max_size=40)


@given(limit=st.integers(1, 3), steps=STEPS)
@settings(max_examples=120, deadline=None)
def test_counts_are_true_whatever_happens(limit: int, steps: list[str]) -> None:
    asyncio.run(_play(limit, steps))


async def _play(limit: int, steps: list[str]) -> None:
    play = _Play(limit)
    for step in steps:
        await play.step(step)
        assert 0 <= play.truly <= play.slots.in_use(E) <= limit
    for task in play.tasks:
        task.cancel()
    await asyncio.gather(*play.tasks, return_exceptions=True)
    assert play.slots.in_use(E) == play.truly == 0


class _Play:
    """Requests come, end, are cancelled while they wait or run; the endpoint is replaced meanwhile."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.slots = LocalSlots([endpoint(limit)])
        self.running: deque[asyncio.Event] = deque()
        self.tasks: list[asyncio.Task[None]] = []
        self.crashed = 0
        self.truly = 0

    async def step(self, name: str) -> None:
        match name:
            case "come":
                self.tasks.append(asyncio.create_task(self.request()))
            case "end" if self.running:
                self.running.popleft().set()
            case "crash" if self.crashed < len(self.tasks):
                self.tasks[self.crashed].cancel()
                self.crashed += 1
            case "tick":
                for _ in range(3):
                    await asyncio.sleep(0)
                assert self.slots.in_use(E) == self.truly
            case "turn away":
                self.slots.turn_away(E)
            case "replace":
                self.slots.remove(E)
                self.slots.add(endpoint(self.limit))

    async def request(self) -> None:
        if not await self.slots.acquire(E):
            return
        self.truly += 1
        ended = asyncio.Event()
        self.running.append(ended)
        try:
            await ended.wait()
        finally:
            self.truly -= 1
            self.slots.release(E)
