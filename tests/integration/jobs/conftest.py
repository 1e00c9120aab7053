"""Jobs on a real server, with nothing in the way."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from balancer.state.redis_connection import AsyncRedis
from jobs.storage.job_store import JobStore
from tests.job_bench import Bench


@pytest.fixture
async def bench(redis: AsyncRedis, store_folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """A lease table and a job store on the emptied server. Waiting for the disk is left out: it takes up to a second."""

    async def at_once(self: JobStore) -> None:
        return None

    monkeypatch.setattr(JobStore, "make_durable", at_once)
    yield Bench(redis, store_folder)
