"""Creates an input file from the requests in a job's body."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import orjson

from jobs.access import Caller, Refused
from jobs.errors import InvalidRequest
from jobs.intake.checker import Form
from jobs.intake.files import Files, Upload
from jobs.records import Job
from jobs.storage.byte_streams import gathered
from producer_api.http.errors import ApiError, Problem
from producer_api.jobs.wire import JobCreate

__all__ = ["inline_lines", "inline_upload", "submit_with_input"]

GATHER = 512 * 1024
"""Bytes of lines that are handed on at a time."""


def inline_upload(caller: Caller) -> Upload:
    """Say what kind of file the lines make, and whose."""
    return Upload("inline.jsonl", form=Form.SHORTHAND, owner=caller.id, limits=caller.limits)


async def submit_with_input(
    files: Files, upload: Upload, lines: AsyncIterator[bytes], submit: Callable[[str], Awaitable[Job]]
) -> Job:
    """Store `lines` as an input file, and return the job that `submit` opens on its id. A file that no job uses is deleted."""
    record = await files.add(upload, lines)
    try:
        job = await submit(record.id)
    except (InvalidRequest, Refused, ApiError):
        await files.delete(record.id)
        raise
    if job.input_file_id != record.id:  # the same request, sent twice at once, was faster
        await files.delete(record.id)
    return job


def inline_lines(job: JobCreate) -> AsyncIterator[bytes]:
    """Yield a job's requests as lines of JSON, shorthand or whole, with the job's defaults in them, many at a time.

    Raises ApiError for one that can't be written as JSON (nested too deeply).
    """
    return gathered(_lines(job), GATHER)


async def _lines(job: JobCreate) -> AsyncIterator[bytes]:
    for number, entry in enumerate(_entries(job), start=1):
        try:
            yield orjson.dumps(entry) + b"\n"
        except orjson.JSONEncodeError as exc:
            problem = Problem(422, f"request {number} is nested too deeply", param="requests", code="invalid_value")
            raise ApiError(problem) from exc


def _entries(job: JobCreate) -> Iterator[dict[str, Any]]:
    for prompt in job.prompts or ():
        yield {**job.defaults, "prompt": prompt}
    for messages in job.messages or ():
        yield {**job.defaults, "messages": messages}
    for entry in job.requests or ():
        yield _with_defaults(entry, job.defaults)


def _with_defaults(entry: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    body = entry.get("body")
    if isinstance(body, dict):
        return {**entry, "body": {**defaults, **body}}
    return entry if "body" in entry else {**defaults, **entry}
