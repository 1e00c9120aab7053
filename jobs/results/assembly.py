"""Ends a job: joins its parts into output and error file, in line order, and checks the ledger."""

import hashlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Container, Sequence

import orjson

from balancer.runtime.events import audit
from jobs.dispatch.lease_table import ShardTable
from jobs.errors import JobError, LedgerBroken
from jobs.intake.files import BATCH_PURPOSE, DEFAULT_TTL, Files
from jobs.intake.line_order import order_of
from jobs.records import BadLine, FileRecord, Job, Ledger
from jobs.records.ids import new_token
from jobs.records.states import JobStatus
from jobs.records.waiting import Waiting
from jobs.results.blocks import Block
from jobs.results.reading import Results
from jobs.results.records import Source
from jobs.storage import object_store
from jobs.storage.job_store import JobStore
from jobs.storage.lock import Lock
from jobs.storage.object_store import ObjectInfo, ObjectStore, part_range

__all__ = ["Assembly", "output_file_id"]

FINALIZER_LEASE = 30.0
"""Seconds until another process may end a job whose finalizer is gone."""
SHOWN = 5
"""Ranges that a message names."""
KEEP_EVERY = 5.0
"""Seconds between renewals of that lease."""

log = logging.getLogger(__name__)


class Assembly:
    """Ends jobs. Several processes may try at once; one of them does it, and a second time changes nothing."""

    def __init__(self, process: str, jobs: JobStore, shards: ShardTable, files: Files, store: ObjectStore) -> None:
        self._process = process
        self._jobs = jobs
        self._shards = shards
        self._files = files
        self._store = store
        self._results = Results(store, shards)

    async def end_if_done(self, job_id: str) -> bool:
        """End a job if nothing of it is left to do, and say whether it was ended here.

        A job of which results are gone goes on with those lines, or ends as failed if its input is gone too. Raises LedgerBroken
        if its lines do not add up, and FileNotFoundError or ObjectStoreError if the object store fails; the job then stays as it
        is and can be ended later.
        """
        job = await self._jobs.get(job_id)
        if job.is_final or not await self._is_done(job):
            return False
        lock = self._jobs.finalizer_lock(job_id, f"{self._process}:{new_token()}", FINALIZER_LEASE)
        if not await lock.hold():
            return False
        try:
            job = await self._jobs.get(job_id)
            if job.is_final or not await self._is_done(job):
                return False
            await self._jobs.begin_finalizing(job)
            return await self._end(job, lock)
        except (_EndedElsewhere, FileNotFoundError):
            # Another process has ended it and deleted the parts.
            if not (await self._jobs.get(job_id)).is_final:
                raise
            return False
        finally:
            await lock.release()

    async def _is_done(self, job: Job) -> bool:
        """Whether no worker has anything of it. Shards of a stopped job that still wait in a queue are taken back here."""
        for first in await self._shards.open_of(job.id):
            if not job.ending or not await self._shards.give_back(job.id, first, only_if="queued"):
                return False
        if job.ending:
            return True
        return job.cursor >= job.places and not await self._shards.returned_of(job.id)

    async def _end(self, job: Job, lock: Lock) -> bool:
        has_input = await self._has_input(job)
        if not job.ending and (gone := await self._gaps(job)):
            return await self._without(job, lock, gone) if not has_input else await self._send_again(job, gone)
        if job.ending and not has_input:
            return await self._without(job, lock, [])
        counts: Counter[Source] = Counter()
        try:
            output, errors = await self._write_both(job, lock, self._results.all_blocks, counts)
        except LedgerBroken:
            # A part is there, but not all of it.
            if not (damaged := await self._damaged_parts(job)):
                raise
            await self._store.delete(*(object_store.part_path(job.id, first, end, job.round) for first, end in damaged))
            raise
        ledger = _ledger(job, counts)
        if not ledger.balances:
            raise LedgerBroken(f"job {job.id} has {ledger.total} lines, and {ledger.done} of them came to an end: {ledger}")
        if (job.ledger.completed, job.ledger.failed) != (ledger.completed, ledger.failed):
            log.warning("job %s: the counts in Redis were %s; its parts say %s", job.id, job.ledger, ledger)
        status = JobStatus(job.ending) if job.ending else JobStatus.COMPLETED
        return await self._finish(job, status, _fields(ledger, output, errors))

    async def _finish(self, job: Job, status: JobStatus, fields: dict[str, str | int]) -> bool:
        ended = await self._jobs.finish(job, status, fields)
        if ended:
            audit(
                log,
                "job_ended",
                job=job.id,
                status=str(status),
                total=job.ledger.total,
                **{name: fields[name] for name in _COUNTED},
                seconds=int(time.time()) - job.created_at,
                tokens=job.tokens.prompt + job.tokens.completion,
                cost=round(job.cost, 9),
                key=job.owner,
            )
            found = await self._store.folder(job.round or object_store.parts_folder(job.id))
            await self._store.delete(*(entry.path for entry in found))
        return ended

    async def _send_again(self, job: Job, ranges: Sequence[tuple[int, int]]) -> bool:
        """Let a job go on whose results are gone in part; its other results stay. Returns False: it has not ended."""
        shown = ", ".join(f"{first + 1}-{end}" for first, end in ranges[:SHOWN])
        log.error("job %s: results of lines %s are gone from the object store; the lines are sent again", job.id, shown)
        if await self._jobs.reopen(job, ranges):
            why = f"results of lines {shown} were gone from the object store; the lines are sent again"
            await self._jobs.set_waiting(job.id, Waiting.because(why))
        return False

    async def _without(self, job: Job, lock: Lock, ranges: Sequence[tuple[int, int]]) -> bool:
        """End a job whose input is gone, so that nothing of it can be sent again, with the results that there are."""
        counts: Counter[Source] = Counter()
        output, errors = await self._write_both(job, lock, self._results.finished_blocks, counts)
        shown = ", ".join(f"{first + 1}-{end}" for first, end in ranges[:SHOWN])
        what = f"results of lines {shown} are gone" if ranges else "lines are without results"
        bad = BadLine("results_lost", f"{what}, and the input is gone from the object store: they can't be sent again")
        status = JobStatus(job.ending) if job.ending else JobStatus.FAILED
        fields = _fields(_ledger(job, counts), output, errors) | {"errors": orjson.dumps([bad.as_dict()]).decode()}
        log.error("job %s ends as %s: %s", job.id, status, bad.message)
        return await self._finish(job, status, fields)

    async def _has_input(self, job: Job) -> bool:
        paths = [object_store.content_path(job.input_file_id), object_store.index_path(job.input_file_id)]
        try:
            for path in (*paths, *([order_of(job)] if job.ordered else [])):
                await self._store.info(path)
        except FileNotFoundError:
            return False
        return True

    async def _gaps(self, job: Job) -> list[tuple[int, int]]:
        """Return the ranges of lines that stand in no part."""
        gaps, position = [], 0
        for first, end in sorted(part_range(entry.path) for entry in await self._parts(job)):
            if first > position:
                gaps.append((position, first))
            position = max(position, end)
        if position < job.places:
            gaps.append((position, job.places))
        return gaps

    async def _parts(self, job: Job) -> list[ObjectInfo]:
        return await self._store.folder(object_store.parts_folder(job.id, job.round))

    async def _damaged_parts(self, job: Job) -> list[tuple[int, int]]:
        """Return the ranges of parts that have other than one line for each of theirs."""
        damaged = []
        for entry in await self._parts(job):
            first, end = part_range(entry.path)
            lines = 0
            async for chunk in self._store.stream(entry.path):
                lines += chunk.count(b"\n")
            if lines != end - first:
                damaged.append((first, end))
        return damaged

    async def _write_both(
        self, job: Job, lock: Lock, read: Callable[[Job], AsyncIterator[Block]], counts: Counter[Source]
    ) -> tuple[str | None, str | None]:
        """Write the output, and the error file if there are errors, and return their ids."""
        output = await self._write(job, lock, "output", read, {Source.COMPLETED}, counts)
        if not counts[Source.FAILED] and not counts[Source.STOPPED]:
            return output, None
        return output, await self._write(job, lock, "error", read, {Source.FAILED, Source.STOPPED}, Counter())

    async def _write(
        self,
        job: Job,
        lock: Lock,
        kind: str,
        read: Callable[[Job], AsyncIterator[Block]],
        wanted: Container[Source],
        counts: Counter[Source],
    ) -> str | None:
        """Write one of the two files and count all lines on the way. Returns its id, None if it would be empty."""
        file_id = output_file_id(job.id, kind)
        size = 0

        async def content() -> AsyncIterator[bytes]:
            nonlocal size
            kept_at = time.monotonic()
            async for block in read(job):
                counts[block.source] += block.lines
                if block.source in wanted:
                    size += len(block.content)
                    yield block.content
                if time.monotonic() - kept_at > KEEP_EVERY:
                    await lock.hold()
                    kept_at = time.monotonic()
            # A process that outlives its lease may have read after the parts were deleted; it must not replace the files.
            if (await self._jobs.get(job.id)).is_final:
                raise _EndedElsewhere(job.id)

        await self._store.write_stream(object_store.content_path(file_id), content())
        if not size:
            await self._store.delete(object_store.content_path(file_id))
            return None
        now = int(time.time())
        ttl = job.output_ttl or DEFAULT_TTL
        name = f"{job.id}_{kind}.jsonl"
        record = FileRecord(file_id, name, f"{BATCH_PURPOSE}_output", size, now, now + ttl, owner=job.owner)
        await self._files.register(record)
        return file_id


class _EndedElsewhere(JobError):
    """Another process has ended the job meanwhile."""


def output_file_id(job_id: str, kind: str) -> str:
    """Return the id of a job's `output` or `error` file: always the same, so that writing it again replaces it."""
    return "file-" + hashlib.sha256(f"{job_id}:{kind}".encode()).hexdigest()[:32]


def _ledger(job: Job, counts: Counter[Source]) -> Ledger:
    stopped = counts[Source.STOPPED]
    return Ledger(
        total=job.ledger.total,
        completed=counts[Source.COMPLETED],
        failed=counts[Source.FAILED],
        cancelled=stopped if job.ending == "cancelled" else 0,
        expired=stopped if job.ending == "expired" else 0,
    )


_COUNTED = ("completed", "failed", "cancelled_lines", "expired_lines")


def _fields(ledger: Ledger, output: str | None, errors: str | None) -> dict[str, str | int]:
    return {
        "completed": ledger.completed,
        "failed": ledger.failed,
        "cancelled_lines": ledger.cancelled,
        "expired_lines": ledger.expired,
        "output_file": output or "",
        "error_file": errors or "",
    }
