"""A store of keys, and the access of processes to it, by a clock that tests move."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from access_bench import MakeAccess, Time

from balancer.state.redis_connection import AsyncRedis
from jobs.access import (
    Access,
    KeyStore,
    store,
)
from jobs.access.key_authenticator import Clocks


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def keys(redis: AsyncRedis, monkeypatch: pytest.MonkeyPatch) -> KeyStore:
    """The store, which does not wait for the disk: that takes up to a second."""

    async def at_once(_: AsyncRedis) -> None:
        return None

    monkeypatch.setattr(store, "make_durable", at_once)
    return KeyStore(redis)


@pytest.fixture
async def access(redis: AsyncRedis, clock: Time) -> AsyncIterator[MakeAccess]:
    """Makes the access of as many processes as a test wants."""
    async with AsyncExitStack() as stack:

        def make(*configured: str, open_door: bool = True) -> Access:
            made = Access(redis, configured, open_door, Clocks(clock, clock))
            stack.push_async_callback(made.aclose)
            return made

        yield make


@pytest.fixture
def asked(redis: AsyncRedis, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Redis is asked: a command's name, or PIPELINE."""
    names: list[str] = []
    execute, pipeline = redis.execute_command, redis.pipeline

    async def execute_noted(*args: Any, **options: Any) -> Any:
        names.append(str(args[0]))
        return await execute(*args, **options)

    def pipeline_noted(*args: Any, **options: Any) -> Any:
        names.append("PIPELINE")
        return pipeline(*args, **options)

    monkeypatch.setattr(redis, "execute_command", execute_noted)
    monkeypatch.setattr(redis, "pipeline", pipeline_noted)
    return names
