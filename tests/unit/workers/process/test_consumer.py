"""The consumer's heartbeat, by which the watchdog tells one that hangs."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from workers.process.consumer import LoopHeartbeat, PromptConsumer


class RefusedAtFirst:
    """A connection that is made at the third attempt, and what the heart had beaten before each."""

    def __init__(self) -> None:
        self.alive_at: list[float] = []

    def ensure_connection(self, failed: Callable[[Exception, float], None], *_: Any, **__: Any) -> "RefusedAtFirst":
        for _attempt in range(2):
            self.alive_at.append(LoopHeartbeat.alive_at)
            failed(ConnectionRefusedError("refused"), 1.0)
        self.alive_at.append(LoopHeartbeat.alive_at)
        return self


@pytest.fixture
def heart(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: Iterator[float] = iter([10.0, 11.0, 12.0, 13.0])
    monkeypatch.setattr(LoopHeartbeat, "alive_at", 0.0)
    monkeypatch.setattr("workers.process.consumer.time", SimpleNamespace(monotonic=lambda: next(ticks)))


@pytest.mark.usefixtures("heart")
def test_a_loop_that_cannot_connect_does_not_count_as_hanging() -> None:
    connection = RefusedAtFirst()
    assert PromptConsumer.ensure_connected(PromptConsumer.__new__(PromptConsumer), connection) is connection
    assert connection.alive_at == [10.0, 11.0, 12.0]
