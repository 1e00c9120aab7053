"""Jobs on a real server, with nothing in the way."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from balancer.state.redis_connection import AsyncRedis
from tests.job_bench import Bench


@pytest.fixture
async def bench(redis: AsyncRedis, store_folder: Path) -> AsyncIterator[Bench]:
    """A lease table and a job store on the emptied server."""
    yield Bench(redis, store_folder)
