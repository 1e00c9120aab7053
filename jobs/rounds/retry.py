"""Sends lines of an ended job again, and merges their results with those of the others, in the order of the input.

The job's record changes in one step; before it nothing of the job has changed, whatever stops this process.
"""

import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import orjson

from jobs.errors import InvalidRequest
from jobs.intake.files import DEFAULT_TTL, Files
from jobs.intake.line_index import line_ranges
from jobs.intake.repeats import FirstLines
from jobs.records import FileRecord, Job
from jobs.records.ids import new_token
from jobs.records.states import JobStatus
from jobs.results.formats import error_code, line_number
from jobs.rounds.first import delete_round
from jobs.rounds.order_file import OrderFile
from jobs.storage import object_store
from jobs.storage.byte_streams import gathered, lines_of
from jobs.storage.job_store import JobStore
from jobs.storage.object_store import ObjectStore

__all__ = ["Retry", "RetrySelection"]

CHUNK = 1024 * 1024
SHOWN = 5
_RANGE = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10}))?")

Numbered = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class RetrySelection:
    """Which lines to send again: those of `ranges` (numbers from 1, both ends included), else those that failed, with `codes`
    only those with one of these error codes."""

    codes: frozenset[str] = frozenset()
    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, codes: str = "", lines: str = "") -> "RetrySelection":
        """Read codes by comma, and lines such as `5,9-20`. Raises InvalidRequest."""
        ranges = []
        for part in filter(None, (part.strip() for part in lines.split(","))):
            match = _RANGE.fullmatch(part)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
            if not 1 <= first <= last:
                raise InvalidRequest(f"lines are numbers from 1 and ranges of them, such as 5,9-20 (got {part!r})", "lines")
            ranges.append((first, last))
        return cls(frozenset(filter(None, (code.strip() for code in codes.split(",")))), tuple(ranges))

    def has(self, number: int, failed: bool, code: str) -> bool:
        """Whether the line `number` (from 0), which failed with `code` or did not, is to be sent again."""
        if self.ranges:
            return any(first <= number + 1 <= last for first, last in self.ranges)
        return failed and (not self.codes or code in self.codes)


@dataclass(slots=True)
class _Kept:
    """What is counted of the lines that are kept, and by their codes (`codes`) of those that have failed."""

    kept_completed: int = 0
    kept_failed: int = 0
    codes: Counter[str] = field(default_factory=Counter)


class Retry:
    """Begins rounds."""

    def __init__(self, jobs: JobStore, files: Files, store: ObjectStore) -> None:
        self._jobs = jobs
        self._files = files
        self._store = store

    async def begin(self, job: Job, selection: RetrySelection, seconds: float, most_jobs: int | None = None) -> bool:
        """Begin a round with the selected lines, which have `seconds` to be done; False if another one has begun meanwhile.

        Raises InvalidRequest if the job has not ended, if its files are gone, or if no line is selected, and Refused if its owner
        has `most_jobs` unfinished jobs already.
        """
        if not job.is_final or job.status is JobStatus.FAILED:
            why = "is refused as a whole" if job.is_final else f"is {job.status}; wait for its end, or cancel it"
            raise InvalidRequest(f"{job.id} {why}: none of its lines can be sent again", "batch_id", "not_ended")
        folder = object_store.round_folder(job.id, f"{len(job.earlier) + 1}-{new_token()[:8]}")
        counts = _Kept()
        try:
            with OrderFile(job.ledger.total if job.first_lines else 0) as order:
                kept = self._kept(job, selection, order, counts)
                await self._store.write_stream(object_store.kept_path(folder), gathered(kept, CHUNK))
                if not order.lines:
                    raise InvalidRequest(_nothing_selected(job, selection, counts), "lines", "nothing_to_retry")
                await self._store.write_stream(object_store.round_order_path(folder), order.chunks())
            began = await self._jobs.begin_round(job, await self._fields(job, folder, order, counts, seconds), most_jobs)
        except BaseException:
            await delete_round(self._store, folder)
            raise
        if not began:
            await delete_round(self._store, folder)
        return began

    async def _fields(self, job: Job, folder: str, order: OrderFile, counts: _Kept, seconds: float) -> dict[str, str | int]:
        now = int(time.time())
        before = {
            "ended_at": job.times.get(f"{job.status}_at", now),
            "completed": job.ledger.completed,
            "failed": job.ledger.total - job.ledger.completed,
            "sent_again": order.lines + order.repeats,
            "error_file_id": await self._keep_errors(job),
        }
        return {
            "total": order.lines,
            "bytes": order.bytes,
            "repeats": order.repeats,
            "kept": counts.kept_completed + counts.kept_failed,
            "completed": counts.kept_completed,
            "failed": counts.kept_failed,
            "round": folder,
            "earlier": orjson.dumps([*job.earlier, before]).decode(),
            "in_progress_at": now,
            "expires_at": now + int(seconds),
        }

    async def _keep_errors(self, job: Job) -> str | None:
        """Keep the errors of the round that has ended in a file of their own, and return its id."""
        if job.error_file_id is None:
            return None
        record = await self._files.get(job.error_file_id)
        file_id = f"file-{new_token()}{new_token()}"[:37]
        await self._store.write_stream(object_store.content_path(file_id), self._files.content(record))
        now = int(time.time())
        name = f"{job.id}_error_{len(job.earlier) + 1}.jsonl"
        ttl = job.output_ttl or DEFAULT_TTL
        await self._files.register(FileRecord(file_id, name, record.purpose, record.size, now, now + ttl, owner=job.owner))
        return file_id

    async def _kept(self, job: Job, selection: RetrySelection, order: OrderFile, counts: _Kept) -> AsyncIterator[bytes]:
        """Yield the results that are kept, as parts have them, and write the order of the other lines."""
        completed, failed = self._results(job, job.output_file_id), self._results(job, job.error_file_id)
        heads = [await anext(completed, None), await anext(failed, None)]
        with ExitStack() as stack:
            firsts = stack.enter_context(await FirstLines.load(self._store, job.first_lines)) if job.first_lines else None
            selected = bytearray(job.ledger.total // 8 + 1)
            async for number, length, offset in self._input(job):
                is_failed = heads[1] is not None and heads[1][0] == number
                head = heads[is_failed]
                if head is None or head[0] != number:
                    raise InvalidRequest(f"{job.id} has no result of line {number + 1}; was one of its files changed?")
                heads[is_failed] = await anext(failed if is_failed else completed, None)
                code = error_code(head[1]) if is_failed else ""
                counts.codes[code] += is_failed
                if not selection.has(number, is_failed, code):
                    counts.kept_failed += is_failed
                    counts.kept_completed += not is_failed
                    yield (b"1" if is_failed else b"0") + head[1] + b"\n"
                    continue
                selected[number // 8] |= 1 << number % 8
                first = number if firsts is None else firsts[number]
                if first != number and selected[first // 8] >> first % 8 & 1:
                    order.add_repeat(first)
                else:
                    order.add(number, length, offset)

    async def _results(self, job: Job, file_id: str | None) -> AsyncIterator[Numbered]:
        if file_id is None:
            return
        async for lines in lines_of(self._files.content(await self._files.get(file_id))):
            for line in lines:
                yield line_number(job.id, line), line

    async def _input(self, job: Job) -> AsyncIterator[tuple[int, int, int]]:
        """Yield the number, the length and the offset of each line of the input."""
        try:
            async for entry in line_ranges(self._store, job.input_file_id):
                yield entry
        except FileNotFoundError as exc:
            raise InvalidRequest(f"the input of {job.id} is gone: its lines can't be sent again", "batch_id") from exc


def _nothing_selected(job: Job, selection: RetrySelection, counts: _Kept) -> str:
    if selection.ranges:
        return f"{job.id} has no such lines: it has {job.ledger.total:,}"
    if not selection.codes:
        return f"{job.id} has no failed lines"
    there = ", ".join(f"{code} ({count:,})" for code, count in counts.codes.most_common(SHOWN) if count) or "none that failed"
    return f"{job.id} has no failed lines with the code {', '.join(sorted(selection.codes))}; there are: {there}"
