"""What all tests share: one real embedded server for the session, emptied for each test."""

import functools
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis as sync_redis
from hypothesis import settings

from api_roadbalancer.embedded import EmbeddedRedis
from balancer.state.redis_connection import AsyncRedis, open_redis

# Not part of `make test`: `vllm` needs servers that are given to it, `endurance` takes long, `litellm` and `clients` have
# environments of their own. Each has its command in the Makefile.
collect_ignore = ["clients", "litellm"]
collect_ignore += [] if os.environ.get("VLLM_URLS") else ["vllm"]
collect_ignore += [] if os.environ.get("ENDURANCE") else ["endurance"]


# The same examples in every run, and no time limit for one: other tests run beside it.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")

# Reading the certificates takes 28 ms, for each HTTP client.
ssl.create_default_context = functools.lru_cache(ssl.create_default_context)  # type: ignore[assignment]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real server."""
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    yield server.start()
    server.stop()


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The URL of the real server, emptied."""
    with sync_redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[AsyncRedis]:
    """A client of the emptied server."""
    client = open_redis(redis_url)
    yield client
    await client.aclose(close_connection_pool=True)


@pytest.fixture
def store_folder(tmp_path: Path) -> Path:
    """A folder for an object store."""
    return tmp_path / "store"
