"""Processes that share slots, and settle more often than in production."""

from collections.abc import AsyncIterator

import pytest
from slot_processes import LUA, StartProcess, endpoint

from balancer.state.redis_connection import AsyncRedis
from balancer.state.scripts import Scripts
from balancer.state.slots import shared as slots
from balancer.state.slots.shared import SharedSlots


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settle more often than in production, so that tests are short."""
    monkeypatch.setattr(slots, "RENEW_EVERY", 0.05)
    monkeypatch.setattr(slots, "ASK_AGAIN_EVERY", 0.005)


@pytest.fixture
async def start(redis: AsyncRedis) -> AsyncIterator[StartProcess]:
    """Starts simulated processes; they end with the test."""
    started: list[SharedSlots] = []

    def start_process(limit: int, scripts: Scripts | None = None, reserve: int = 0, interactive: bool = False) -> SharedSlots:
        name = f"process-{len(started)}"
        process = SharedSlots(scripts or Scripts(redis, LUA), name, [endpoint(limit, reserve)], interactive)
        process.start()
        started.append(process)
        return process

    yield start_process
    for process in started:
        await process.aclose()
