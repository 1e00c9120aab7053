"""Locks: one holder at a time, and none releases another's."""

import asyncio

from balancer.state.redis_connection import AsyncRedis
from jobs.storage.job_store import job_scripts
from jobs.storage.lock import Lock
from tests.waiting import until


def lock(redis: AsyncRedis, owner: str, lease: float = 30.0) -> Lock:
    return Lock(job_scripts(redis), "rb:lock", owner, lease)


async def test_one_owner_holds_it_and_may_keep_it(redis: AsyncRedis) -> None:
    one, two = lock(redis, "one"), lock(redis, "two")
    assert (await one.hold(), await two.hold(), await one.hold()) == (True, False, True)
    assert not await two.release()
    assert not await two.hold()
    assert await one.release()
    assert await two.hold()


async def test_a_late_owner_does_not_release_the_lock_of_the_next(redis: AsyncRedis) -> None:
    late, next_one = lock(redis, "late", 0.01), lock(redis, "next")
    assert await late.hold()
    await until(next_one.hold)
    assert not await late.release()
    assert not await late.hold()
    assert await next_one.hold()


async def test_a_lease_that_ends_while_it_is_released_never_costs_the_next_owner_the_lock(redis: AsyncRedis) -> None:
    for _ in range(100):
        leaving, coming = lock(redis, "leaving", 0.002), lock(redis, "coming")
        assert await leaving.hold()
        await asyncio.gather(leaving.release(), until(coming.hold))
        assert await coming.release(), "the one that left released the lock of the one that came"
