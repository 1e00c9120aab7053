"""`/api/v1/jobs`: bulk jobs with progress and partial results."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from jobs.access import Admission, Caller
from jobs.errors import InvalidRequest
from jobs.intake.requests import Canary
from jobs.monitoring.why import why_now
from jobs.records import Job
from jobs.service import JobRequest
from jobs.webhooks.delivery import deliveries_of
from producer_api.access.callers import CurrentCaller, OwnJob
from producer_api.context import Api, ApiContext
from producer_api.gateway.event_stream import EventStream, begun
from producer_api.http.json_body import JsonRoute
from producer_api.http.openapi import errors
from producer_api.jobs.checks import kept_checks
from producer_api.jobs.idempotency import Idempotency, Repeats
from producer_api.jobs.inline_input import inline_lines, inline_upload, submit_with_input
from producer_api.jobs.progress_events import progress_events
from producer_api.jobs.results import LineQuery, ResultQuery, files_of, next_line, results_of, search
from producer_api.jobs.webhooks import WebhookDeliveries, kept_webhook
from producer_api.jobs.wire import JobChange, JobCreate, JobList, JobObject, JobReason, JobRetry

__all__ = ["retried", "router"]

router = APIRouter(
    prefix="/jobs",
    tags=["jobs"],
    route_class=JsonRoute,
    responses=errors(400, 401, 403, 404, 409, 413, 422, 429, 500, 503, 507),
)

STATUS_HEADER = "x-roadbalancer-job-status"
NEXT_HEADER = "x-roadbalancer-next"
SEARCHED_HEADER = "x-roadbalancer-searched"
NDJSON = "application/x-ndjson"


@router.post("", status_code=201, summary="Open a job: requests in the body, or an uploaded file")
async def create_job(body: JobCreate, api: Api, caller: CurrentCaller, repeats: Repeats) -> JobObject:
    """Open a job. Requests that can't be used make one that has failed, with the reasons in `errors`.

    With an `Idempotency-Key`, repeating the request returns the job that the first one made.
    """
    if made := await repeats.made_before(api, body):
        return JobObject.of(made)
    await api.access.check_budget(caller)
    if body.input_file_id is not None:
        return JobObject.of(await _submit(api, body, body.input_file_id, caller, repeats))

    async def submit(file_id: str) -> Job:
        return await _submit(api, body, file_id, caller, repeats)

    files = api.node.service.files
    return JobObject.of(await submit_with_input(files, inline_upload(caller), inline_lines(body), submit))


@router.get("", summary="List jobs, newest first")
async def list_jobs(
    api: Api, caller: CurrentCaller, after: str | None = None, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> JobList:
    """List jobs, those made before the job `after`."""
    return JobList.of(*await api.node.service.jobs.page(limit, after, caller.sees_only))


@router.get("/{job_id}", summary="Look a job up")
async def get_job(job: OwnJob) -> JobObject:
    """Return a job as it is now."""
    return JobObject.of(job)


@router.get("/{job_id}/why", summary="What a job is waiting for, in words")
async def why_job(job: OwnJob, api: Api) -> JobReason:
    """Explain in one paragraph what keeps a job's lines from being finished, by the facts that dispatch goes by."""
    return JobReason(why=await why_now(api.node, job))


@router.get("/{job_id}/webhook", summary="How a job's events were delivered to its webhook")
async def webhook_deliveries(job: OwnJob, api: Api) -> WebhookDeliveries:
    """List the events that were sent to a job's webhook, or are sent again, oldest first; those of the last 30 days."""
    return WebhookDeliveries.of(await deliveries_of(api.node.redis, job.id))


@router.patch("/{job_id}", summary="Pause a job or let it go on; change its cap, priority, window or endpoints")
async def change_job(job: OwnJob, body: JobChange, api: Api, caller: CurrentCaller) -> JobObject:
    """Set `max_cost` (USD), or lift it (null); a cap that is spent already is refused. `"canary": null` lets a job go on that is
    paused after its canary, `"paused": false` one that was paused with `"paused": true`. Lines in flight may finish."""
    service = api.node.service
    given = body.model_fields_set
    if not given:
        fields = ", ".join(JobChange.model_fields)
        raise InvalidRequest(f"give one of {fields}", "max_cost", "missing_required_parameter")
    if "priority" in given:
        caller.check_priority(body.priority)
    if "max_cost" in body.model_fields_set:
        job = await service.limit_cost(job.id, body.max_cost)
    if "canary" in body.model_fields_set:
        job = await service.end_canary(job.id)
    if given & {"paused", "priority", "completion_window", "endpoints"}:
        job = await service.steer(
            job.id,
            held=body.paused if "paused" in given else None,
            priority=body.priority if "priority" in given else None,
            window=body.completion_window if "completion_window" in given else None,
            endpoints=(body.endpoints or ()) if "endpoints" in given else None,
        )
    return JobObject.of(job)


@router.delete("/{job_id}", summary="Cancel a job; what is finished is kept")
async def cancel_job(job: OwnJob, api: Api) -> JobObject:
    """Stop a job. One that has ended stays as it is."""
    return JobObject.of(await api.cancellations.cancel(job.id))


@router.post("/{job_id}/retry", summary="Send lines of an ended job again")
async def retry_job(job: OwnJob, body: JobRetry, api: Api, caller: CurrentCaller) -> JobObject:
    """Send the lines that failed, or chosen ones, again; their results are merged with the others', in the order of the input."""
    return JobObject.of(await retried(api, job, body, caller))


@router.get(
    "/{job_id}/results",
    summary="Read results, also while the job runs",
    response_class=StreamingResponse,
    responses={200: {"content": {NDJSON: {}}}},
)
async def read_results(job: OwnJob, api: Api, query: Annotated[ResultQuery, Query()]) -> Response:
    """Stream the finished lines from number `start` on (counted from 0), in line order, failed ones among them.

    For pages, give a `limit`, and `after` with the last line's `custom_id` or `id`; `status` chooses `completed` or `failed`
    lines.

    `x-roadbalancer-next` says where to go on: every line before it has been sent. Lines behind a gap are sent now, and
    again from there; their `id` tells them apart. `x-roadbalancer-job-status` is the status as the answer begins.

    With `contains`, the answer has those of some lines, at most 2 s of searching, whose prompt, answer, error or `custom_id`
    has the text, whatever its case; `x-roadbalancer-searched` is the `start` to go on with.
    """
    service = api.node.service
    if job.is_final:
        await files_of(service, job)
    first = await query.first(service, job)
    headers = {STATUS_HEADER: job.status.value, NEXT_HEADER: str(await next_line(service, job, first))}
    if query.contains is not None:
        found, searched = await search(service, job, first, query, query.contains)
        return Response(found, media_type=NDJSON, headers=headers | {SEARCHED_HEADER: str(searched)})
    return StreamingResponse(results_of(service, job, first, query), media_type=NDJSON, headers=headers)


@router.get(
    "/{job_id}/results/{custom_id:path}",
    summary="Read the result of one line",
    response_class=Response,
    responses={200: {"content": {"application/json": {}}}},
)
async def read_result(job: OwnJob, custom_id: str, api: Api, query: Annotated[LineQuery, Query()]) -> Response:
    """Return the result of the line with this `custom_id`; `with_input` adds its request. 409 while it is not finished."""
    service = api.node.service
    if job.is_final:
        await files_of(service, job)
    return Response(await service.result(job, custom_id, query.with_input), media_type="application/json")


@router.get(
    "/{job_id}/events",
    summary="Watch a job's progress (server-sent events)",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def watch_job(job: OwnJob, api: Api, caller: CurrentCaller) -> EventStream:
    """Send `progress` with the job at each change, at most twice a second, and `end` when it has ended. As long as it is open it
    counts among the requests that the key may have at once."""
    admission = await api.access.hold(caller)
    events = progress_events(api.node.service.jobs, job, api.stopping)
    return EventStream(await begun(_held(api, caller, admission, events)))


async def _held(
    api: ApiContext, caller: Caller, admission: Admission, events: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """Yield nothing at first (see `begun`), then the events; and give back what the admission holds."""
    try:
        yield b""
        async with aclosing(events):
            async for event in events:
                yield event
    finally:
        await api.access.finish(caller, admission, 0, None)


async def retried(api: ApiContext, job: Job, body: JobRetry, caller: Caller) -> Job:
    """Return the job under way again. Raises InvalidRequest, Refused."""
    await api.access.check_budget(caller)
    caller.check_models(job.models)
    return await api.node.service.retry(job.id, body.selection(), body.completion_window, caller.limits)


async def _submit(api: ApiContext, body: JobCreate, file_id: str, caller: Caller, repeats: Idempotency) -> Job:
    request = JobRequest(
        input_file_id=file_id,
        path=body.endpoint,
        window=body.completion_window,
        priority=body.priority,
        background=body.background,
        order=body.order,
        dedupe=body.dedupe,
        price_class=body.price_class,
        cache=body.cache,
        canary=Canary(body.canary.lines, body.canary.random) if body.canary else None,
        metadata=body.metadata,
        max_cost=body.max_cost,
        checks=kept_checks(body.checks, body.recheck),
        webhook=kept_webhook(body.webhook, api.node.configuration.private_webhooks),
        media_urls=api.node.configuration.media_urls,
        caller=caller,
        job_id=repeats.job_id,
        request_digest=repeats.digest_of(body),
    )
    return repeats.checked(await api.node.service.submit(request), body)
