"""Waiting until Redis's disk has what was written."""

import pytest
from redis.exceptions import RedisError

from balancer.state.redis_connection import AsyncRedis
from jobs.storage.durability import MARK, make_durable


async def test_what_was_written_is_waited_for(redis: AsyncRedis) -> None:
    await make_durable(redis)
    assert await redis.ttl(MARK) <= 1


async def test_a_server_that_writes_nothing_is_no_success(redis: AsyncRedis) -> None:
    await redis.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(RedisError, match="NOREPLICAS"):
            await make_durable(redis)
    finally:
        await redis.config_set("min-replicas-to-write", 0)
