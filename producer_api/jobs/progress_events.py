"""Streams a job's progress as server-sent events."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import suppress

from jobs.records import Job
from jobs.storage.job_store import JobStore
from producer_api.jobs.wire import JobObject

__all__ = ["progress_events"]

LOOK_EVERY = 0.5
"""Seconds between looks at the job, and so at least between two events."""
HEARTBEAT_EVERY = 15.0
"""Seconds of silence after which a comment keeps the connection."""
RECONNECT_AFTER_MS = 2000


async def progress_events(
    jobs: JobStore, job: Job, stopping: asyncio.Event, look_every: float = LOOK_EVERY, heartbeat_every: float = HEARTBEAT_EVERY
) -> AsyncGenerator[bytes, None]:
    """Yield `progress` with the job now and at each change, and `end` with it when nothing changes any more.

    Ends too when `stopping` is set; a client that has not seen `end` connects again.
    """
    yield b"retry: %d\n\n" % RECONNECT_AFTER_MS + _event("progress", job)
    sent_at = time.monotonic()
    while not job.is_final and not stopping.is_set():
        with suppress(TimeoutError):
            # Not wait_for, which before Python 3.12 forgets a cancellation that comes together with the event.
            async with asyncio.timeout(look_every):
                await stopping.wait()
        latest = await jobs.get(job.id)
        if latest != job:
            job = latest
            yield _event("progress", job)
        elif time.monotonic() - sent_at >= heartbeat_every:
            yield b": still here\n\n"
        else:
            continue
        sent_at = time.monotonic()
    if job.is_final:
        yield _event("end", job)


def _event(name: str, job: Job) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), JobObject.of(job).model_dump_json().encode())
