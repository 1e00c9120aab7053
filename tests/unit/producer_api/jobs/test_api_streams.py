"""Progress events, cancellations and the pieces of the result stream, without a server."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import LedgerBroken, NotFound
from jobs.records import Job, Ledger
from jobs.records.states import JobStatus
from jobs.results.formats import line_number, request_id
from jobs.results.lines import Ranges
from producer_api.jobs.cancelling import Cancellations
from producer_api.jobs.progress_events import progress_events

JOB = Job("batch_00000000", JobStatus.IN_PROGRESS, "file-00000000", "/v1/chat/completions", "24h", 0, 1, Ledger(3, 0, 0))
ENDED = replace(JOB, status=JobStatus.COMPLETED, ledger=Ledger(3, 3, 0), times={"completed_at": 5})


class Store:
    """Hands out a job's states one by one, the last one for ever."""

    def __init__(self, *states: Job) -> None:
        self._states = list(states)

    async def get(self, job_id: str) -> Job:
        return self._states.pop(0) if len(self._states) > 1 else self._states[0]


def names(events: list[bytes]) -> list[str]:
    return [line[7:].decode() for event in events for line in event.split(b"\n") if line.startswith(b"event: ")]


def watch(store: Any, stopping: asyncio.Event | None = None, heartbeat: float = 100.0) -> AsyncIterator[bytes]:
    return progress_events(store, JOB, stopping or asyncio.Event(), look_every=0.001, heartbeat_every=heartbeat)


async def test_only_changes_are_sent_and_the_end_twice() -> None:
    half = replace(JOB, ledger=Ledger(3, 1, 0))
    events = [event async for event in watch(Store(JOB, JOB, half, half, half, ENDED))]
    assert names(events) == ["progress", "progress", "progress", "end"]


async def test_silence_is_broken_by_a_comment() -> None:
    events = watch(Store(JOB), heartbeat=0.0)
    assert (await anext(events)).startswith(b"retry: ")
    assert await anext(events) == b": still here\n\n"


async def test_a_stopping_server_ends_the_events_without_an_end() -> None:
    stopping = asyncio.Event()
    events = watch(Store(JOB), stopping)
    assert names([await anext(events)]) == ["progress"]
    stopping.set()
    assert [event async for event in events] == []


class Service:
    """A service whose cancellations take as long as `gate` is shut, or fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.jobs = self
        self.job = JOB
        self.gate = asyncio.Event()
        self.cancelled = False
        self._error = error

    async def get(self, job_id: str) -> Job:
        if job_id != JOB.id:
            raise NotFound("batch", job_id)
        return self.job

    async def begin_cancel(self, job_id: str) -> None:
        self.job = replace(JOB, status=JobStatus.CANCELLING, ending="cancelled")

    async def end_stopped(self, job_id: str) -> None:
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self._error:
            raise self._error
        self.job = replace(JOB, status=JobStatus.CANCELLED)


async def test_a_cancellation_that_takes_long_goes_on_behind_its_answer() -> None:
    service: Any = Service()
    cancellations = Cancellations(service, patience=0.01)
    assert (await cancellations.cancel(JOB.id)).status is JobStatus.CANCELLING
    service.gate.set()
    async with asyncio.timeout(5):
        while service.job.status is not JobStatus.CANCELLED:
            await asyncio.sleep(0)
    await cancellations.aclose()


async def test_a_cancellation_under_way_ends_with_the_server() -> None:
    service: Any = Service()
    cancellations = Cancellations(service, patience=0.01)
    await cancellations.cancel(JOB.id)
    await cancellations.aclose()
    assert service.cancelled


async def test_a_cancelled_job_that_can_not_be_put_together_stays_so(caplog: pytest.LogCaptureFixture) -> None:
    service: Any = Service(LedgerBroken("off by one"))
    service.gate.set()
    with caplog.at_level(logging.WARNING):
        assert (await Cancellations(service).cancel(JOB.id)).status is JobStatus.CANCELLING
    assert "off by one" in caplog.text


async def test_an_unknown_job_is_not_cancelled() -> None:
    service: Any = Service()
    with pytest.raises(NotFound):
        await Cancellations(service).cancel("batch_11111111")


@given(st.sets(st.integers(0, 200)))
def test_ranges_hold_what_was_added(numbers: set[int]) -> None:
    ranges = Ranges()
    for number in sorted(numbers):
        ranges.add(number)
    assert {number for number in range(202) if number in ranges} == numbers


@given(st.integers(0, 10**12), st.text("0aZ", min_size=8, max_size=64))
def test_a_line_number_is_read_back_from_its_id(number: int, name: str) -> None:
    job_id = f"batch_{name}"
    line = b'{"id":"%b","custom_id":"x"}' % request_id(job_id, number).encode()
    assert line_number(job_id, line) == number
