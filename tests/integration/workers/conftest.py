"""The worker that tests run shards with."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from worker_bench import Worker

from balancer.state.redis_connection import AsyncRedis
from jobs.storage.job_store import JobStore
from tests.job_bench import Bench
from workers.shards import recorder as recorder_module


@pytest.fixture
async def worker(redis: AsyncRedis, store_folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Worker]:
    async def at_once(self: JobStore) -> None:
        return None

    monkeypatch.setattr(JobStore, "make_durable", at_once)
    monkeypatch.setattr(recorder_module, "GROUP_SECONDS", 0.01)
    made = Worker(Bench(redis, store_folder))
    yield made
    await made.close()
