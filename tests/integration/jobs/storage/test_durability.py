"""Waiting until Redis's disk has what was written."""

import pytest
from redis.exceptions import RedisError

from balancer.state.redis_connection import AsyncRedis
from jobs.storage.durability import make_durable


async def test_what_was_written_is_waited_for(redis: AsyncRedis) -> None:
    await redis.config_resetstat()
    await redis.config_set("appendonly", "yes")
    try:
        await make_durable(redis)
    finally:
        await redis.config_set("appendonly", "no")
    waited = (await redis.info("commandstats"))["cmdstat_waitaof"]
    assert (waited["calls"], waited["failed_calls"]) == (1, 0)


async def test_a_server_without_an_append_only_file_is_not_waited_for(redis: AsyncRedis) -> None:
    await make_durable(redis)


async def test_a_server_that_writes_nothing_is_no_success(redis: AsyncRedis) -> None:
    await redis.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(RedisError, match="NOREPLICAS"):
            await make_durable(redis)
    finally:
        await redis.config_set("min-replicas-to-write", 0)
