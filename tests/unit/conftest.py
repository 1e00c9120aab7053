"""Units need no server: where one wants Redis, fakeredis stands in, with its Lua."""

from collections.abc import AsyncIterator

import fakeredis
import pytest

from balancer.state.redis_connection import AsyncRedis


@pytest.fixture
async def redis() -> AsyncIterator[AsyncRedis]:
    """A client of an empty server inside this process."""
    client = fakeredis.FakeAsyncRedis(server_type="valkey")
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def redis_server() -> str:
    """Fail: a test that needs a real server belongs to the integration tests."""
    pytest.fail("units need no server; this test belongs to tests/integration")
