"""Periodic work that fails."""

import asyncio

import pytest

from balancer.runtime import periodic
from balancer.runtime.periodic import Periodic
from tests.waiting import until


class Work:
    """Fails once, and counts how often it was done."""

    def __init__(self, error: Exception) -> None:
        self.done = 0
        self._error = error

    async def __call__(self) -> None:
        self.done += 1
        if self.done == 1:
            raise self._error


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periodic, "PAUSE_AFTER_UNEXPECTED_ERROR", 0.0)


@pytest.mark.parametrize("error", [KeyError("a"), OSError("refused")], ids=["unexpected", "expected"])
async def test_work_goes_on_after_an_error(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    work = Work(error)
    errors: list[Exception] = []
    task = Periodic(work, 0.001, "slots", errors.append)
    task.start()
    await until(lambda: work.done > 1)
    await task.aclose()
    if isinstance(error, OSError):
        assert errors == [error]
        assert not caplog.records
    else:
        assert not errors
        assert caplog.messages == ["unexpected error in the task 'slots'; trying again in 0 s"]
        assert caplog.records[0].exc_info and caplog.records[0].exc_info[1] is error


async def test_one_that_is_watched_ends_by_an_unexpected_error() -> None:
    work = Work(KeyError("a"))
    ended = Periodic(work, 0.001, "recorder", lambda _: None, stop_on_unexpected_error=True).start()
    await asyncio.wait([ended], timeout=5)
    assert isinstance(ended.exception(), KeyError) and work.done == 1
