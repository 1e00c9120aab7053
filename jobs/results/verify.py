"""Verifies that an ended job lost nothing: each input line is exactly once in its results, in order."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson

from jobs.errors import NotReady
from jobs.intake.line_index import read_lines
from jobs.records import Job
from jobs.service import JobService
from jobs.storage.byte_streams import lines_of
from jobs.storage.object_store import ObjectStore

__all__ = ["Verdict", "verify_job"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found: the lines of the input and of both files, and the first thing that is wrong, if any."""

    lines: int
    in_output: int
    in_errors: int
    problem: str = ""

    @property
    def holds(self) -> bool:
        """Whether every line stands exactly once."""
        return not self.problem


async def verify_job(service: JobService, store: ObjectStore, job: Job) -> Verdict:
    """Walk through input, output and errors side by side. Memory: one line of each. Raises NotReady, NotFound."""
    if not job.is_final:
        raise NotReady(f"{job.id} is {job.status}; it can be verified when it has ended")
    output = _Head(await service.output(job, "output"))
    errors = _Head(await service.output(job, "error"))
    await output.advance()
    await errors.advance()
    lines = 0
    async for number, raw in read_lines(store, job.input_file_id, 0, job.ledger.total):
        custom_id = orjson.loads(raw)["custom_id"]
        if custom_id == output.custom_id:
            await output.advance()
        elif custom_id == errors.custom_id:
            await errors.advance()
        else:
            return Verdict(
                lines, output.taken, errors.taken, f"input line {number + 1} ({custom_id}) is in neither file at its place"
            )
        lines += 1
    if output.custom_id is not None or errors.custom_id is not None:
        extra = output.custom_id if output.custom_id is not None else errors.custom_id
        return Verdict(lines, output.taken, errors.taken, f"{extra} stands in the results, but not (or twice) in the input")
    if lines != job.ledger.total or not job.ledger.balances:
        return Verdict(lines, output.taken, errors.taken, f"the ledger does not balance: {job.ledger}")
    return Verdict(lines, output.taken, errors.taken)


class _Head:
    """The next line of a results file."""

    def __init__(self, content: AsyncIterator[bytes] | None) -> None:
        self._lines = _lines(content) if content else None
        self.custom_id: str | None = None
        self.taken = -1

    async def advance(self) -> None:
        line = await anext(self._lines, None) if self._lines else None
        self.custom_id = orjson.loads(line)["custom_id"] if line else None
        self.taken += 1


async def _lines(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for lines in lines_of(content):
        for line in lines:
            yield line
