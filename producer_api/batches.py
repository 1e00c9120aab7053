"""`/v1/batches`: create, list, look up and cancel batches."""

from typing import Annotated

from fastapi import APIRouter, Query

from jobs.service import JobRequest
from producer_api.context import Api
from producer_api.json_body import JsonRoute
from producer_api.wire import BatchCreate, BatchList, BatchObject

__all__ = ["router"]

router = APIRouter(tags=["batches"], route_class=JsonRoute)


@router.post("/batches", summary="Create a batch of an uploaded file")
async def create_batch(body: BatchCreate, api: Api) -> BatchObject:
    """Open a batch. An input with bad lines makes one that has failed, with the lines and the reasons in `errors`."""
    expiry = body.output_expires_after
    request = JobRequest(
        input_file_id=body.input_file_id,
        path=body.endpoint,
        window=body.completion_window,
        priority=body.priority,
        metadata=body.metadata,
        output_ttl=expiry.seconds if expiry else None,
    )
    return BatchObject.of(await api.node.service.submit(request))


@router.get("/batches", summary="List batches, newest first")
async def list_batches(api: Api, after: str | None = None, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> BatchList:
    """List batches, those made before the batch `after`."""
    return BatchList.of(*await api.node.service.jobs.page(limit, after))


@router.get("/batches/{batch_id}", summary="Look a batch up")
async def get_batch(batch_id: str, api: Api) -> BatchObject:
    """Return a batch as it is now."""
    return BatchObject.of(await api.node.service.jobs.get(batch_id))


@router.post("/batches/{batch_id}/cancel", summary="Cancel a batch; what is finished is kept")
async def cancel_batch(batch_id: str, api: Api) -> BatchObject:
    """Stop a batch. One that has ended stays as it is."""
    return BatchObject.of(await api.cancellations.cancel(batch_id))
