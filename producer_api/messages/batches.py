"""`/v1/messages/batches`: Anthropic's message batches, which are jobs."""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import StreamingResponse

from jobs.intake.files import Upload
from jobs.records import Job
from jobs.service import JobRequest, JobService
from jobs.storage.byte_streams import gathered
from producer_api.access.callers import CurrentCaller, OwnBatch
from producer_api.context import Api, ApiContext
from producer_api.http.errors import ApiError, Problem
from producer_api.http.json_body import JsonRoute
from producer_api.jobs.idempotency import Repeats
from producer_api.jobs.inline_input import submit_with_input
from producer_api.jobs.results import files_of
from producer_api.messages.batch_objects import (
    METADATA,
    BatchCreate,
    BatchDeleted,
    BatchList,
    BatchObject,
    input_lines,
    result_line,
)
from producer_api.messages.documentation import ERRORS

__all__ = ["router"]

router = APIRouter(prefix="/messages/batches", tags=["messages"], route_class=JsonRoute, responses=ERRORS)

GATHER = 256 * 1024
"""Bytes of lines that are handed on at a time."""
PAGE = 100
"""Jobs that are read at once to find the message batches among them."""


@router.post("", summary="Create a batch of requests for messages")
async def create_batch(body: BatchCreate, api: Api, caller: CurrentCaller, repeats: Repeats) -> BatchObject:
    """Open a job with these requests. An invalid request rejects the whole batch, before anything is sent."""
    if made := await repeats.made_before(api, body):
        return BatchObject.of(made)
    await api.access.check_budget(caller)
    service = api.node.service

    async def submit(file_id: str) -> Job:
        request = JobRequest(
            input_file_id=file_id,
            path="/v1/chat/completions",
            metadata=METADATA,
            media_urls=api.node.configuration.media_urls,
            caller=caller,
            job_id=repeats.job_id,
            request_digest=repeats.digest_of(body),
        )
        await _refuse_what_has_errors(service, request)
        return repeats.checked(await service.submit(request), body)

    upload = Upload("messages.jsonl", owner=caller.id, limits=caller.limits)
    lines = gathered(_each(input_lines(body)), GATHER)
    return BatchObject.of(await submit_with_input(service.files, upload, lines, submit))


async def _each(lines: Iterator[bytes]) -> AsyncIterator[bytes]:
    for line in lines:
        yield line


async def _refuse_what_has_errors(service: JobService, request: JobRequest) -> None:
    """Message batches have no status for an invalid input. Raises ApiError."""
    if errors := await service.check(request):
        first = errors[0]
        place = f"requests[{first.line - 1}]: " if first.line else ""
        raise ApiError(Problem(400, place + first.message, param=first.param, code=first.code))


@router.get("", summary="List message batches, newest first")
async def list_batches(
    api: Api,
    caller: CurrentCaller,
    after_id: str | None = None,
    before_id: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
) -> BatchList:
    """List message batches, those made before the batch `after_id`."""
    if before_id is not None:
        raise ApiError(Problem(400, "before_id: is not supported here; use after_id", param="before_id"))
    found: list[Job] = []
    more = True
    while more and len(found) <= limit:
        jobs, more = await api.node.service.jobs.page(PAGE, after_id, caller.sees_only)
        found += [job for job in jobs if _is_message_batch(job)]
        after_id = jobs[-1].id if jobs else None
    return BatchList.of(found[:limit], len(found) > limit)


def _is_message_batch(job: Job) -> bool:
    return METADATA.items() <= (job.metadata or {}).items()


@router.get("/{batch_id}", summary="Look a message batch up")
async def get_batch(batch: OwnBatch) -> BatchObject:
    """Return a batch as it is now."""
    return BatchObject.of(batch)


@router.post("/{batch_id}/cancel", summary="Cancel a message batch; what is finished is kept")
async def cancel_batch(batch: OwnBatch, api: Api) -> BatchObject:
    """Stop a batch. One that has ended stays as it is."""
    return BatchObject.of(await api.cancellations.cancel(batch.id))


@router.delete("/{batch_id}", summary="Delete the requests and results of a message batch that has ended")
async def delete_batch(batch: OwnBatch, api: Api) -> BatchDeleted:
    """Delete the requests and results of a batch. Its counts remain available."""
    _has_ended(batch)
    for file_id in (batch.input_file_id, batch.output_file_id, batch.error_file_id):
        if file_id:
            await api.node.service.files.delete(file_id)
    return BatchDeleted(id=batch.id)


@router.get(
    "/{batch_id}/results",
    summary="Read the results of a message batch that has ended",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-jsonl": {}}}},
)
async def read_results(batch: OwnBatch, api: Api) -> StreamingResponse:
    """Stream the results, one to a line, in the order of the requests."""
    _has_ended(batch)
    await files_of(api.node.service, batch)
    return StreamingResponse(gathered(_results(api, batch), GATHER), media_type="application/x-jsonl")


async def _results(api: ApiContext, batch: Job) -> AsyncIterator[bytes]:
    async for _, line in api.node.service.lines(batch):
        yield result_line(line)


def _has_ended(batch: Job) -> None:
    if not batch.is_final:
        raise ApiError(Problem(400, f"{batch.id} has not ended: wait until its processing_status is `ended`", code="not_ready"))
