"""Budgets of requests and tokens per minute, shared by all processes."""

import asyncio
import time
from pathlib import Path

import pytest

from balancer.endpoint import Endpoint
from balancer.outcome import Usage
from balancer.runtime.loop import end_tasks
from balancer.state import keys
from balancer.state.rate_limits import shared as pacing
from balancer.state.rate_limits.shared import RateLimiter, expected_tokens
from balancer.state.redis_connection import AsyncRedis
from balancer.state.scripts import Scripts

LUA = Path(pacing.__file__).parent
E = "e"


def pacer(redis: AsyncRedis, **limits: int) -> RateLimiter:
    return RateLimiter(Scripts(redis, LUA), [Endpoint("http://h", name=E, **limits)])  # type: ignore[arg-type]


async def pass_for(seconds: float, pacers: list[RateLimiter], tokens: int = 1, takers: int = 4) -> list[float]:
    """Let takers take as fast as they can, and return when each take went through."""
    passed: list[float] = []

    async def taker(one: RateLimiter) -> None:
        while True:
            await one.acquire(E, tokens)
            passed.append(time.monotonic())

    tasks = [asyncio.create_task(taker(p)) for p in pacers for _ in range(takers)]
    await asyncio.sleep(seconds)
    await end_tasks(*tasks)  # a single cancellation may get lost in a command to Redis
    return passed


def span(passed: list[float]) -> float:
    """Return the seconds from the first take to the last: more than was asked for, where the machine is busy."""
    return passed[-1] - passed[0]


async def ask(redis: AsyncRedis, rpm: int, tpm: int, wanted: int, each: int, correction: int = 0) -> tuple[int, int]:
    granted, wait_ms = await Scripts(redis, LUA).run("rate_limit", (keys.rate_limit(E),), (rpm, tpm, wanted, each, correction))
    return int(granted), int(wait_ms)


async def age(redis: AsyncRedis, seconds: float) -> None:
    """As if the last question had been asked some time ago."""
    at = float(await redis.hget(keys.rate_limit(E), "at"))
    await redis.hset(keys.rate_limit(E), "at", f"{at - seconds:.6f}")


async def test_two_processes_share_one_budget_of_requests(redis: AsyncRedis) -> None:
    seconds = 2.0
    passed = await pass_for(seconds, [pacer(redis, rpm=600), pacer(redis, rpm=600)])
    # A second's worth at once, then 590 more in the rest of a minute; a block of each process may be in hand.
    assert 0.85 * (10 + seconds * 9.83) <= len(passed) <= 10 + span(passed) * 9.83 + 2


@pytest.mark.parametrize(("rpm", "least"), [(1, 1), (2, 1), (6, 5), (60, 50), (600, 560), (6000, 5600)])
async def test_no_minute_has_more_than_the_budget_and_none_wastes_much(redis: AsyncRedis, rpm: int, least: int) -> None:
    """Time is moved by hand: a minute in steps of a tenth of a second, before which the bucket was full."""
    began = time.monotonic()
    await ask(redis, rpm, 0, 0, 0)
    granted, moved = 0, 0.0
    while moved + time.monotonic() - began < 59.5:  # the time that the asking takes comes on top
        granted += (await ask(redis, rpm, 0, rpm, 0))[0]
        await age(redis, 0.1)
        moved += 0.1
    assert least <= granted <= rpm


async def test_the_wait_is_as_long_as_it_takes(redis: AsyncRedis) -> None:
    assert (await ask(redis, 60, 0, 1, 0))[0] == 1
    granted, wait_ms = await ask(redis, 60, 0, 1, 0)
    assert granted == 0 and 900 <= wait_ms <= 1050
    await age(redis, wait_ms / 1000)
    assert (await ask(redis, 60, 0, 1, 0))[0] == 1


async def test_a_request_larger_than_the_bucket_goes_and_the_next_one_pays(redis: AsyncRedis) -> None:
    assert (await ask(redis, 0, 6000, 1, 1000))[0] == 1  # a second's worth is 100
    granted, wait_ms = await ask(redis, 0, 6000, 1, 1)
    assert granted == 0 and 8_500 <= wait_ms <= 9_500
    await age(redis, 10.0)
    assert (await ask(redis, 0, 6000, 1, 1))[0] == 1


async def test_what_was_really_used_is_corrected(redis: AsyncRedis) -> None:
    assert (await ask(redis, 0, 6000, 1, 50))[0] == 1
    assert (await ask(redis, 0, 6000, 1, 1, correction=500))[0] == 0
    assert (await ask(redis, 0, 6000, 1, 1, correction=-500))[0] == 1
    one = pacer(redis, tpm=6000)
    one.reconcile(E, 10, Usage(prompt=5_000, completion=5_000))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await one.acquire(E, 1)


async def test_both_budgets_count(redis: AsyncRedis) -> None:
    assert (await ask(redis, 60, 60_000, 5, 1))[0] == 1
    await age(redis, 60)
    assert (await ask(redis, 6000, 600, 5, 5))[0] == 2


async def test_tokens_pace_two_processes_together(redis: AsyncRedis) -> None:
    seconds, each = 1.5, 10
    passed = await pass_for(seconds, [pacer(redis, tpm=6_000), pacer(redis, tpm=6_000)], tokens=each)
    assert 0.8 * (10 + seconds * 9.83) <= len(passed) <= 10 + span(passed) * 9.83 + 2


async def test_an_endpoint_without_budget_costs_nothing(redis: AsyncRedis) -> None:
    one = pacer(redis)
    assert not one.is_limited(E)
    await one.acquire(E, 10**9)
    one.reconcile(E, 5, Usage())
    assert await redis.keys("*") == []


async def test_a_wait_that_is_cancelled_lets_the_next_one_on(redis: AsyncRedis) -> None:
    one = pacer(redis, rpm=120)
    await pass_for(0.1, [one])
    waiting = asyncio.create_task(one.acquire(E, 1))
    await asyncio.sleep(0)
    await end_tasks(waiting)
    async with asyncio.timeout(3):
        await one.acquire(E, 1)


@pytest.mark.parametrize(
    ("limits", "completion"),
    [
        ({}, pacing.EXPECTED_COMPLETION),
        ({"max_tokens": 50}, 50),
        ({"max_tokens": 50, "max_completion_tokens": 70}, 70),
        ({"max_tokens": "many"}, pacing.EXPECTED_COMPLETION),
        ({"max_tokens": None}, pacing.EXPECTED_COMPLETION),
    ],
)
def test_what_a_request_is_expected_to_use(limits: dict[str, object], completion: int) -> None:
    prompt = {"messages": [{"role": "user", "content": "word " * 100}]}
    assert expected_tokens({**prompt, **limits}) == 100 + completion
