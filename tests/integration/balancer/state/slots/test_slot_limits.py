"""The limit of slots under random use."""

import asyncio
import random
from collections.abc import Sequence

import pytest
import redis as sync_redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slot_processes import LUA, NAME, StartProcess, kill

from balancer.state import keys
from balancer.state.slots import shared as slots
from balancer.state.slots.shared import SharedSlots
from tests.waiting import until


class Turmoil:
    """Random acquiring, releasing, cancelling and turning away in several processes."""

    def __init__(self, crowd: Sequence[SharedSlots], limit: int, rng: random.Random) -> None:
        self.crowd, self.limit, self.rng = crowd, limit, rng
        self.waiting: dict[asyncio.Task[bool], SharedSlots] = {}
        self.held: list[SharedSlots] = []
        self.deeds = [
            self.acquire,
            self.acquire,
            self.acquire,
            self.release,
            self.release,
            self.cancel,
            self.turn_away,
            self.announce,
        ]

    async def step(self) -> None:
        self.collect()
        self.rng.choice(self.deeds)()
        await asyncio.sleep(0.003 if self.rng.random() < 0.1 else 0)

    def collect(self) -> None:
        for task in [t for t in self.waiting if t.done()]:
            process = self.waiting.pop(task)
            if not task.cancelled() and task.result():
                self.held.append(process)
        assert sum(p.in_use(NAME) for p in self.crowd) <= self.limit

    def acquire(self) -> None:
        process = self.rng.choice(self.crowd)
        self.waiting[asyncio.create_task(process.acquire(NAME))] = process

    def release(self) -> None:
        if self.held:
            self.held.pop(self.rng.randrange(len(self.held))).release(NAME)

    def cancel(self) -> None:
        if self.waiting:
            self.rng.choice(list(self.waiting)).cancel()

    def turn_away(self) -> None:
        self.rng.choice(self.crowd).turn_away(NAME)

    def announce(self) -> None:
        process = self.rng.choice(self.crowd)
        process.announce(NAME, 1)
        process.announce(NAME, -1)

    async def calm(self) -> None:
        for task in self.waiting:
            task.cancel()
        await asyncio.gather(*self.waiting, return_exceptions=True)
        self.collect()


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_the_limit_holds_and_nothing_leaks(
    start: StartProcess, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(slots, "SLOT_LEASE", 0.5)
    rng = random.Random(seed)
    limit = rng.choice([1, 3, 6])
    crowd = [start(limit) for _ in range(3)]
    turmoil = Turmoil(crowd, limit, rng)
    for _ in range(250):
        await turmoil.step()
    await turmoil.calm()
    # One dies with what it holds; the others give theirs back. Within the lease all slots can be had again.
    kill(crowd[0])
    for process in turmoil.held:
        if process is not crowd[0]:
            process.release(NAME)
    last = [asyncio.create_task(crowd[1].acquire(NAME)) for _ in range(limit)]
    await until(lambda: crowd[1].in_use(NAME) == limit)
    assert all(await asyncio.gather(*last))


SOURCE = (LUA / "slots.lua").read_text()
Question = tuple[int, int, int]  # process, wanted, how many requests have ended


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(
    limit=st.integers(1, 9),
    questions=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12), st.integers(0, 12)), max_size=40),
)
def test_the_script_never_allows_more_than_the_limit(redis_url: str, limit: int, questions: list[Question]) -> None:
    with sync_redis.Redis.from_url(redis_url) as client:
        client.delete(keys.slots(NAME), keys.slot_turns(NAME))
        ask = client.register_script(SOURCE)
        allowed: dict[int, int] = {}
        wanted: dict[int, int] = {}

        def question(process: int, wants: int, ended: int) -> None:
            held = max(0, min(allowed.get(process, 0), wants) - ended)
            wants = max(min(wants, limit), held)
            args = [f"p{process}", held, wants, limit, 10_000, held, 8 if process % 2 else 1, 0, 0]
            answer = int(ask(keys=[keys.slots(NAME), keys.slot_turns(NAME)], args=args)[0])
            assert answer >= held
            allowed[process], wanted[process] = answer, wants
            assert sum(allowed.values()) <= limit

        for process, wants, ended in questions:
            question(process, wants, ended)
        # Everybody goes on asking for what it wants, while its requests end now and then: nothing is left lying about.
        for _ in range(8):
            for process, wants in list(wanted.items()):
                question(process, wants, 1)
        for _ in range(2):
            for process, wants in list(wanted.items()):
                question(process, wants, 0)
        assert sum(allowed.values()) == min(limit, sum(wanted.values()))
