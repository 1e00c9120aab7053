"""`/v1/batches`: create, list, look up and cancel batches."""

from typing import Annotated

from fastapi import APIRouter, Query

from jobs.service import JobRequest
from producer_api.access.callers import CurrentCaller, OwnBatch
from producer_api.context import Api
from producer_api.files.wire import BatchCreate, BatchList, BatchObject
from producer_api.http.json_body import JsonRoute
from producer_api.http.openapi import errors
from producer_api.jobs.checks import kept_checks
from producer_api.jobs.idempotency import Repeats
from producer_api.jobs.jobs import retried
from producer_api.jobs.webhooks import kept_webhook
from producer_api.jobs.wire import JobRetry

__all__ = ["router"]

router = APIRouter(tags=["batches"], route_class=JsonRoute, responses=errors(400, 401, 403, 404, 409, 413, 429, 500, 503, 507))


@router.post("/batches", summary="Create a batch of an uploaded file")
async def create_batch(body: BatchCreate, api: Api, caller: CurrentCaller, repeats: Repeats) -> BatchObject:
    """Open a batch. An input with bad lines makes one that has failed, with the lines and the reasons in `errors`.

    With an `Idempotency-Key`, repeating the request returns the batch that the first one made.
    """
    if made := await repeats.made_before(api, body):
        return BatchObject.of(made)
    await api.access.check_budget(caller)
    expiry = body.output_expires_after
    request = JobRequest(
        input_file_id=body.input_file_id,
        path=body.endpoint,
        window=body.completion_window,
        priority=body.priority,
        background=body.background,
        order=body.order,
        dedupe=body.dedupe,
        price_class=body.price_class,
        cache=body.cache,
        metadata=body.metadata,
        output_ttl=expiry.seconds if expiry else None,
        caller=caller,
        max_cost=body.max_cost,
        checks=kept_checks(body.checks, body.recheck),
        webhook=kept_webhook(body.webhook, api.node.configuration.private_webhooks),
        media_urls=api.node.configuration.media_urls,
        job_id=repeats.job_id,
        request_digest=repeats.digest_of(body),
    )
    return BatchObject.of(repeats.checked(await api.node.service.submit(request), body))


@router.get("/batches", summary="List batches, newest first")
async def list_batches(
    api: Api, caller: CurrentCaller, after: str | None = None, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> BatchList:
    """List batches, those made before the batch `after`."""
    return BatchList.of(*await api.node.service.jobs.page(limit, after, caller.sees_only))


@router.get("/batches/{batch_id}", summary="Look a batch up")
async def get_batch(batch: OwnBatch) -> BatchObject:
    """Return a batch as it is now."""
    return BatchObject.of(batch)


@router.post("/batches/{batch_id}/cancel", summary="Cancel a batch; what is finished is kept")
async def cancel_batch(batch: OwnBatch, api: Api) -> BatchObject:
    """Stop a batch. One that has ended stays as it is."""
    return BatchObject.of(await api.cancellations.cancel(batch.id))


@router.post("/batches/{batch_id}/retry", summary="Send lines of an ended batch again")
async def retry_batch(batch: OwnBatch, body: JobRetry, api: Api, caller: CurrentCaller) -> BatchObject:
    """Send the lines that failed, or chosen ones, again; their results are merged with the others', in the order of the input."""
    return BatchObject.of(await retried(api, batch, body, caller))
