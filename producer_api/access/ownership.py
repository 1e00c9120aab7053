"""Looks up objects that the caller owns. Objects of other keys are reported as not found (404)."""

from typing import Annotated

from fastapi import Depends

from jobs.records import FileRecord, Job
from producer_api.access.callers import CurrentCaller
from producer_api.context import Api

__all__ = ["OwnBatch", "OwnFile", "OwnJob"]


async def _own_file(file_id: str, api: Api, caller: CurrentCaller) -> FileRecord:
    return await api.node.service.files.get(file_id, caller.sees_only)


async def _own_job(job_id: str, api: Api, caller: CurrentCaller) -> Job:
    return await api.node.service.jobs.get(job_id, caller.sees_only)


async def _own_batch(batch_id: str, api: Api, caller: CurrentCaller) -> Job:
    return await api.node.service.jobs.get(batch_id, caller.sees_only)


OwnFile = Annotated[FileRecord, Depends(_own_file)]
"""The file `file_id` of the path. Raises NotFound, as the others do."""
OwnJob = Annotated[Job, Depends(_own_job)]
"""The job `job_id` of the path."""
OwnBatch = Annotated[Job, Depends(_own_batch)]
"""The job `batch_id` of the path."""
