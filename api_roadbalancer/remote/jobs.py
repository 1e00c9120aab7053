"""Jobs of a server: what the commands do with those of this machine (see api_roadbalancer.local_jobs), over HTTP."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from api_roadbalancer.local_jobs import Submission, refuse_errors
from api_roadbalancer.remote.records import endpoint_of, job_of
from api_roadbalancer.remote.server import ServerRefused, TeamServer
from api_roadbalancer.user_files.local_files import read_chunks
from jobs.errors import InvalidRequest
from jobs.intake.checker import Form, Intake, IntakeResult
from jobs.intake.lines import CHAT_PATH
from jobs.monitoring.overview import EndpointState
from jobs.records import Job
from jobs.records.states import JobStatus
from jobs.results.formats import line_number
from jobs.rounds.retry import RetrySelection
from jobs.storage.byte_streams import lines_of

__all__ = ["RemoteJobs"]

JOBS = "/api/v1/jobs"
NEXT_HEADER = "x-roadbalancer-next"
FORBIDDEN = 403
PAGE = 100


class RemoteJobs:
    """Every method raises ServerRefused, with what the server has said."""

    def __init__(self, server: TeamServer) -> None:
        self._server = server

    async def submit(self, source: Path, asked: Submission) -> Job:
        """Check a file here, upload it, and open a job on it. Raises InvalidRequest for an input that can't be used."""
        if asked.name is not None:
            raise InvalidRequest("--id names jobs of this machine; a server makes its own names")
        with tempfile.TemporaryFile() as lines:
            found = await _checked(source, lines)
            refuse_errors(source, found.errors)
            lines.seek(0)
            upload = {"file": (source.name, lines, "application/jsonl")}
            file = await self._server.ask("POST", "/v1/files", data={"purpose": "batch"}, files=upload)
        body = {"input_file_id": file["id"], "endpoint": next(iter(found.paths), CHAT_PATH), **asked.as_request()}
        try:
            job = job_of(await self._server.ask("POST", JOBS, json=body))
        except ServerRefused:
            await self._server.ask("DELETE", f"/v1/files/{file['id']}")
            raise
        if job.status is JobStatus.FAILED:  # no endpoint there could take its lines
            refuse_errors(source, job.errors)
        return job

    async def job(self, job_id: str) -> Job:
        """Return a job as it is now."""
        return job_of(await self._server.get(_path(job_id)))

    async def why(self, job: Job) -> str:
        """Say what a job is waiting for."""
        return str((await self._server.get(f"{_path(job.id)}/why"))["why"])

    async def page(self, limit: int) -> list[Job]:
        """Return the newest jobs."""
        jobs: list[Job] = []
        after = None
        while len(jobs) < limit:
            found = await self._server.get(JOBS, limit=min(PAGE, limit - len(jobs)), after=after)
            jobs += map(job_of, found["data"])
            if not found["has_more"]:
                break
            after = jobs[-1].id
        return jobs

    async def endpoints(self) -> list[EndpointState]:
        """Return the fleet; nothing where the key is not an admin's."""
        try:
            return [endpoint_of(each) for each in (await self._server.get("/api/v1/endpoints"))["data"]]
        except ServerRefused as exc:
            if exc.status == FORBIDDEN:
                return []
            raise

    async def steer(
        self,
        job_id: str,
        held: bool | None = None,
        priority: int | None = None,
        window: str | None = None,
        endpoints: Sequence[str] | None = None,
    ) -> Job:
        """Change how a job in progress is worked on; what is None stays."""
        wanted = {"paused": held, "priority": priority, "completion_window": window, "endpoints": endpoints}
        return await self._change(job_id, {name: value for name, value in wanted.items() if value is not None})

    async def limit_cost(self, job_id: str, max_cost: float | None) -> Job:
        """Set the cap on what a job may cost (USD), or lift it (None)."""
        return await self._change(job_id, {"max_cost": max_cost})

    async def end_canary(self, job_id: str) -> Job:
        """Let a job that is paused after its canary go on."""
        return await self._change(job_id, {"canary": None})

    async def retry(self, job_id: str, selection: RetrySelection, window: str) -> Job:
        """Send lines of an ended job again."""
        ranges = ",".join(f"{first}-{last}" for first, last in selection.ranges)
        body = {"errors": sorted(selection.codes), "lines": ranges, "completion_window": window}
        return job_of(await self._server.ask("POST", f"{_path(job_id)}/retry", json=body))

    async def cancel(self, job_id: str) -> Job:
        """Stop a job."""
        return job_of(await self._server.ask("DELETE", _path(job_id)))

    async def result(self, job: Job, custom_id: str, with_input: bool) -> bytes:
        """Return one line's result."""
        path = f"{_path(job.id)}/results/{quote(custom_id, safe='')}"
        async with self._server.stream(path, with_input=with_input or None) as answer:
            return await answer.aread()

    async def first_unfinished(self, job: Job, start: int) -> int:
        """Return the number of the first line, from `start` on, that is not finished. Raises ServerRefused."""
        async with self._server.stream(f"{_path(job.id)}/results", start=start, limit=1) as answer:
            following = answer.headers.get(NEXT_HEADER, "")
        if not following.isdecimal():
            raise ServerRefused(f"the server's results have no number in the header {NEXT_HEADER}; is a proxy taking it out?")
        return int(following)

    async def lines(self, job: Job, start: int, failed: bool | None, with_input: bool) -> AsyncIterator[tuple[int, bytes]]:
        """Yield results with their lines' numbers, from line `start` on."""
        status = None if failed is None else "failed" if failed else "completed"
        query = {"start": start or None, "status": status, "with_input": with_input or None}
        async with self._server.stream(f"{_path(job.id)}/results", **query) as answer:
            async for lines in lines_of(answer.aiter_bytes()):
                for line in lines:
                    yield line_number(job.id, line), line

    async def output(self, job: Job, kind: str) -> AsyncIterator[bytes] | None:
        """Return the bytes of an ended job's `output` or `error` file, None if it has none."""
        file_id = job.output_file_id if kind == "output" else job.error_file_id
        return self._content(file_id) if file_id else None

    async def _content(self, file_id: str) -> AsyncIterator[bytes]:
        async with self._server.stream(f"/v1/files/{file_id}/content") as answer:
            async for chunk in answer.aiter_bytes():
                yield chunk

    async def _change(self, job_id: str, fields: dict[str, Any]) -> Job:
        return job_of(await self._server.ask("PATCH", _path(job_id), json=fields))


def _path(job_id: str) -> str:
    return f"{JOBS}/{quote(job_id, safe='')}"


async def _checked(source: Path, lines: IO[bytes]) -> IntakeResult:
    """Write a file of requests as lines of a batch, whatever form it has."""
    with Intake(Form.SHORTHAND) as intake:
        async for chunk in read_chunks(source):
            lines.write(await asyncio.to_thread(intake.feed, chunk))
        lines.write(intake.finish())
        return await asyncio.to_thread(intake.result)
