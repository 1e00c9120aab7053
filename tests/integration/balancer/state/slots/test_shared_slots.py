"""Slots that several processes share: shares, waits, leases and failures."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from slot_processes import LUA, NAME, StartProcess, endpoint, kill

from balancer.state import keys
from balancer.state.redis_connection import AsyncRedis
from balancer.state.scripts import Call, Scripts
from balancer.state.slots import shared as slots
from balancer.state.slots.shared import SharedSlots
from tests.waiting import until


class Load:
    """Requests that take slots and give them back, with a count of all that are in flight."""

    def __init__(self, processes: Sequence[SharedSlots], waiters: int) -> None:
        self.done = [0] * len(processes)
        self.in_flight = 0
        self.most = 0
        self._tasks = [asyncio.create_task(self._work(p, i)) for i, p in enumerate(processes) for _ in range(waiters)]

    async def _work(self, process: SharedSlots, index: int) -> None:
        while True:
            assert await process.acquire(NAME)
            self.in_flight += 1
            self.most = max(self.most, self.in_flight)
            try:
                await asyncio.sleep(0.002)
            finally:
                self.in_flight -= 1
                process.release(NAME)
            self.done[index] += 1

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("limit", "processes"),
    [
        (8, 1),  # one alone
        (8, 2),  # shares without remainder
        (8, 3),  # with one
        (5, 5),  # one each
        (1, 2),  # fewer slots than processes: they take turns
        (1, 3),
        (3, 5),
    ],
)
async def test_no_process_starves_and_the_limit_holds(start: StartProcess, limit: int, processes: int) -> None:
    load = Load([start(limit) for _ in range(processes)], waiters=limit + 2)
    await until(lambda: min(load.done) >= 20)
    await load.end()
    assert load.most == limit


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
async def test_all_slots_are_used_when_they_are_wanted(start: StartProcess, processes: int) -> None:
    limit = 7
    crowd = [start(limit) for _ in range(processes)]
    waiters = [asyncio.create_task(p.acquire(NAME)) for p in crowd for _ in range(limit)]
    await until(lambda: sum(p.in_use(NAME) for p in crowd) == limit)
    for task in waiters:
        task.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)


@pytest.mark.parametrize("processes", [2, 3, 4])
async def test_a_latecomer_gets_its_share_as_requests_end(start: StartProcess, processes: int) -> None:
    limit = 12
    crowd = [start(limit) for _ in range(processes)]
    first = Load(crowd[:1], waiters=2 * limit)
    await until(lambda: crowd[0].in_use(NAME) == limit)
    others = Load(crowd[1:], waiters=2 * limit)
    await until(lambda: all(p.in_use(NAME) >= limit // processes - 1 for p in crowd))
    before = first.done + others.done
    await until(lambda: sum(first.done + others.done) - sum(before) >= 400)
    shares = [now - then for now, then in zip(first.done + others.done, before, strict=True)]
    await first.end()
    await others.end()
    assert min(shares) >= 0.5 * sum(shares) / processes


async def test_slots_that_are_reserved_are_at_hand_for_chats_only(start: StartProcess) -> None:
    worker, api = start(8, reserve=3), start(8, reserve=3, interactive=True)
    lines = [asyncio.create_task(worker.acquire(NAME)) for _ in range(12)]
    await until(lambda: worker.in_use(NAME) == 5)
    async with asyncio.timeout(5):
        for _ in range(3):
            assert await api.acquire(NAME)
    await until(lambda: worker.load(NAME) == 8)
    assert worker.in_use(NAME) == 5, "chats that use what is reserved for them take nothing from lines"
    for _ in range(5):
        worker.release(NAME)
    await until(lambda: worker.in_use(NAME) > 0, what="lines to go on")
    for task in lines:
        task.cancel()
    await asyncio.gather(*lines, return_exceptions=True)


async def test_a_reserve_of_everything_leaves_lines_one_slot(start: StartProcess) -> None:
    async with asyncio.timeout(5):
        assert await start(2, reserve=5).acquire(NAME)


async def test_slots_of_a_dead_process_come_back_with_its_lease(start: StartProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "SLOT_LEASE", 0.4)
    dead, living = start(4), start(4)
    for _ in range(4):
        assert await dead.acquire(NAME)
    kill(dead)
    waiters = [asyncio.create_task(living.acquire(NAME)) for _ in range(4)]
    began = asyncio.get_running_loop().time()
    await until(lambda: living.in_use(NAME) == 4)
    assert asyncio.get_running_loop().time() - began > 0.2
    assert all(await asyncio.gather(*waiters))


async def test_a_dead_process_that_waited_holds_no_other_up(start: StartProcess) -> None:
    holder, dead, living = start(1), start(1), start(1)
    assert await holder.acquire(NAME)
    refused, synchronise = asyncio.Event(), dead._synchronise

    async def once(names: list[str]) -> None:
        """Ask, and no more once it waits: a question that is on its way when the process dies may still be granted a slot."""
        await synchronise(names)
        if dead._gauges[NAME].asked == 1:
            refused.set()
            await asyncio.Event().wait()

    dead._synchronise = once  # type: ignore[method-assign]
    waiting_dead = asyncio.create_task(dead.acquire(NAME))
    await refused.wait()
    kill(dead)
    waiting = asyncio.create_task(living.acquire(NAME))
    holder.release(NAME)
    async with asyncio.timeout(3):  # far below the lease
        assert await waiting
    waiting_dead.cancel()


async def test_a_process_that_redis_has_forgotten_hands_out_no_more(
    start: StartProcess, redis: AsyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "SLOT_LEASE", 0.1)
    process = start(3)
    assert await process.acquire(NAME)
    kill(process)
    process.release(NAME)
    await until(lambda: not process.try_acquire(NAME) or process.release(NAME) is not None)
    assert not process.try_acquire(NAME)


async def test_a_slot_that_lapsed_before_its_waiter_woke_up_is_not_used(start: StartProcess) -> None:
    process = start(1)
    assert await process.acquire(NAME)
    waiting = asyncio.create_task(process.acquire(NAME))
    await until(lambda: len(process._gauges[NAME].waiters) == 1)
    process.release(NAME)  # the waiter has the slot, and wakes up in the loop's next step
    process._gauges[NAME].valid_until = 0.0
    assert await waiting
    assert not process.has_lapsed(NAME)
    assert process.in_use(NAME) == 1


async def test_turning_away_ends_all_waits(start: StartProcess) -> None:
    process = start(1)
    assert await process.acquire(NAME)
    waiters = [asyncio.create_task(process.acquire(NAME)) for _ in range(3)]
    await until(lambda: len(process._gauges[NAME].waiters) == 3)
    process.turn_away(NAME)
    assert await asyncio.gather(*waiters) == [False, False, False]
    process.release(NAME)
    assert await process.acquire(NAME)


async def test_cancelled_waits_lose_no_slot(start: StartProcess) -> None:
    rng = random.Random(7)
    process = start(3)
    for _ in range(40):
        waiters = [asyncio.create_task(process.acquire(NAME)) for _ in range(8)]
        for _ in range(rng.randrange(6)):
            await asyncio.sleep(0)
        for task in rng.sample(waiters, 6):
            task.cancel()
        left = [task for task in waiters if not task.cancelling()]
        for task in left:
            assert await task
            process.release(NAME)
        results = await asyncio.gather(*waiters, return_exceptions=True)
        for task, result in zip(waiters, results, strict=True):
            if task.cancelling() and result is True:
                process.release(NAME)
        assert process.in_use(NAME) == 0


async def test_a_slot_given_in_the_moment_of_the_cancellation_goes_to_the_next(start: StartProcess) -> None:
    process = start(1)
    assert await process.acquire(NAME)
    first, second = (asyncio.create_task(process.acquire(NAME)) for _ in range(2))
    await until(lambda: len(process._gauges[NAME].waiters) == 2)
    process.release(NAME)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    assert await second
    assert process.in_use(NAME) == 1


class HeldUp(Scripts):
    """Scripts whose answers can be held up on their way back."""

    def __init__(self, redis: AsyncRedis, folder: Path) -> None:
        super().__init__(redis, folder)
        self.on_way_back: Callable[[], Awaitable[None]] | None = None

    async def run_many(self, calls: Sequence[Call]) -> list[Any]:
        answers = await super().run_many(calls)
        if self.on_way_back:
            await self.on_way_back()
        return answers


async def test_slots_that_a_question_gives_back_are_not_taken_meanwhile(redis: AsyncRedis, start: StartProcess) -> None:
    """Between question and answer another process may get what was given back, so it must not be handed out here."""
    scripts = HeldUp(redis, LUA)
    mine, other = start(4, scripts), start(4)
    for _ in range(4):
        assert await mine.acquire(NAME)
    taken_meanwhile: list[bool] = []

    async def meanwhile() -> None:
        scripts.on_way_back = None
        taken = [asyncio.create_task(other.acquire(NAME)) for _ in range(4)]
        await until(lambda: other.in_use(NAME) == 4, 2.0)
        taken_meanwhile.extend(mine.try_acquire(NAME) for _ in range(4))
        assert all(await asyncio.gather(*taken))

    scripts.on_way_back = meanwhile
    for _ in range(4):
        mine.release(NAME)
    await until(lambda: len(taken_meanwhile) == 4)
    assert taken_meanwhile == [False] * 4


async def test_closing_gives_everything_back_at_once(start: StartProcess, redis: AsyncRedis) -> None:
    process = start(4)
    assert await process.acquire(NAME)
    process.release(NAME)
    process.announce(NAME, 3)
    await process.aclose()
    assert await redis.hgetall(keys.slots(NAME)) == {}


async def test_closing_ends_even_when_something_changes_at_the_same_time(start: StartProcess) -> None:
    for _ in range(5):
        process = start(1)
        assert await process.acquire(NAME)
        process.release(NAME)
        process._asking.wake()
        async with asyncio.timeout(3):
            await process.aclose()


class Failing(Scripts):
    """Scripts on a Redis that is away for a while."""

    failures = 0

    async def run_many(self, calls: Sequence[Call]) -> list[Any]:
        if self.failures:
            self.failures -= 1
            raise RedisConnectionError("away")
        return await super().run_many(calls)


async def test_waiters_are_served_when_redis_is_back(redis: AsyncRedis, start: StartProcess) -> None:
    scripts = Failing(redis, LUA)
    scripts.failures = 1
    process = start(2, scripts)
    async with asyncio.timeout(5):
        assert await process.acquire(NAME)


async def test_messages_about_an_endpoint_that_was_removed_or_replaced_do_no_harm(start: StartProcess) -> None:
    process = start(4)
    process.announce(NAME, 3)
    process.remove(NAME)
    process.announce(NAME, -1)
    process.add(endpoint(4))
    process.announce(NAME, -2)
    assert process._gauges[NAME].announced == 0
    assert await process.acquire(NAME)
    process.release(NAME)
