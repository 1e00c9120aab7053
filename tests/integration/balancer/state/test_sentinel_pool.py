"""The pool of connections to the primary, while it learns of another one."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from balancer.state.redis_connection import open_redis
from balancer.state.sentinel import SentinelPool


class OneServer:
    """Sentinels that always name the same server."""

    def __init__(self, redis_url: str) -> None:
        where = urlsplit(redis_url)
        self.sentinels: list[Any] = []
        self._address = (where.hostname, where.port)

    async def discover_master(self, _: str) -> Any:
        return self._address


@pytest.fixture
async def pool(redis_url: str) -> AsyncIterator[SentinelPool]:
    password, _, _ = urlsplit(redis_url).netloc.rpartition("@")
    pool: SentinelPool = open_redis(f"redis+sentinel://{password}@127.0.0.1/jobs").connection_pool
    pool.sentinel_manager = OneServer(redis_url)
    yield pool
    await pool.disconnect()


async def test_a_connection_is_not_closed_in_the_hands_of_its_user(pool: SentinelPool) -> None:
    await pool.release(await pool.get_connection())
    _, taken = await asyncio.gather(pool.disconnect(inuse_connections=False), pool.get_connection())
    assert taken.is_connected
    await pool.release(taken)


async def test_idle_connections_are_closed_and_others_made_when_needed(pool: SentinelPool) -> None:
    idle, in_use = await pool.get_connection(), await pool.get_connection()
    await pool.release(idle)
    await pool.disconnect(inuse_connections=False)
    assert not idle.is_connected and in_use.is_connected
    another = await pool.get_connection()
    assert another.is_connected and another is not in_use
    for connection in (in_use, another):
        await pool.release(connection)
