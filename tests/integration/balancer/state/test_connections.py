"""Connections to Redis that are lost, and the pool of those to the primary while it learns of another one."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError

from balancer.state.redis_connection import AsyncRedis, open_redis
from balancer.state.sentinel import SentinelPool


class OneServer:
    """Sentinels that always name the same server."""

    def __init__(self, redis_url: str) -> None:
        where = urlsplit(redis_url)
        self.sentinels: list[Any] = []
        self._address = (where.hostname, where.port)

    async def discover_master(self, _: str) -> Any:
        return self._address


def behind_sentinel(redis_url: str) -> AsyncRedis:
    password, _, _ = urlsplit(redis_url).netloc.rpartition("@")
    client = open_redis(f"redis+sentinel://{password}@127.0.0.1/jobs")
    client.connection_pool.sentinel_manager = OneServer(redis_url)
    return client


@pytest.fixture
async def pool(redis_url: str) -> AsyncIterator[SentinelPool]:
    async with behind_sentinel(redis_url) as client:
        yield client.connection_pool


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


@pytest.mark.parametrize("opened", [open_redis, behind_sentinel])
def test_a_write_on_a_connection_that_was_just_lost_is_a_connection_error(opened: Any, redis_url: str) -> None:
    """By uvloop, which workers and the API run on, it is a RuntimeError."""

    async def lose() -> None:
        async with opened(redis_url) as client:
            connection = await client.connection_pool.get_connection()
            connection._writer.transport.abort()
            with pytest.raises(RedisConnectionError, match="was lost"):
                await connection.send_command("PING")
            await client.connection_pool.release(connection)
            assert await client.ping()

    uvloop.run(lose())
