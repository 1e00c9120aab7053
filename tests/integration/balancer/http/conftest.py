"""The HTTP client that tests use."""

from collections.abc import AsyncIterator

import pytest
from http_calls import MB

from balancer.http import (
    PooledClient,
)


@pytest.fixture
async def client() -> AsyncIterator[PooledClient]:
    made = PooledClient(connect_timeout=1.0, max_answer_bytes=4 * MB)
    yield made
    await made.aclose()
