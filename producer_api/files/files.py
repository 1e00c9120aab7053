"""`/v1/files`: upload, list, look up, read and delete files."""

from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import StreamingResponse

from jobs.access import Caller
from jobs.service import JobService
from jobs.storage import object_store
from producer_api.access.callers import CurrentCaller, OwnFile
from producer_api.context import Api
from producer_api.files.uploads import take_upload
from producer_api.files.wire import PURPOSES, FileDeleted, FileList, FileObject
from producer_api.http.errors import ApiError, Problem
from producer_api.http.json_body import JsonRoute
from producer_api.http.multipart import UploadForm
from producer_api.http.openapi import errors

__all__ = ["router"]

router = APIRouter(tags=["files"], route_class=JsonRoute, responses=errors(400, 401, 403, 404, 409, 413, 500, 503, 507))

MAX_OVERHEAD = 1024 * 1024
"""Bytes by which a multipart body may be longer than its file."""
_UPLOAD_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": list(PURPOSES)},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {"type": "integer"},
                    },
                }
            }
        },
    }
}


@router.post("/files", summary="Upload a file; a batch's input is checked on the way", openapi_extra=_UPLOAD_SCHEMA)
async def upload_file(request: Request, api: Api, caller: CurrentCaller) -> FileObject:
    """Take a file in as it streams. An input with errors is kept with them; a batch made of it fails and lists them."""
    limit = api.limits.upload_bytes
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit + MAX_OVERHEAD:
        raise ApiError(Problem(413, f"the file is larger than {limit} bytes; split it", param="file", code="file_too_large"))
    form = UploadForm(request.headers.get("content-type", ""), request.stream(), limit)
    return FileObject.of(await take_upload(api.node.service.files, form, caller))


@router.get("/files", summary="List files")
async def list_files(
    api: Api,
    caller: CurrentCaller,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    purpose: str | None = None,
) -> FileList:
    """List files by age, those of one purpose if that is given."""
    newest_first = order == "desc"
    return FileList.of(*await api.node.service.files.page(limit, after, purpose, newest_first, caller.sees_only))


@router.get("/files/{file_id}", summary="Look a file up")
async def get_file(file: OwnFile) -> FileObject:
    """Return a file's record."""
    return FileObject.of(file)


@router.get(
    "/files/{file_id}/content",
    summary="Read a file",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
async def read_file(file: OwnFile, api: Api) -> StreamingResponse:
    """Stream a file's bytes as they were uploaded or made."""
    # Asked for before the answer begins, since a missing file can't be reported in the middle.
    await api.node.objects.info(object_store.content_path(file.id))
    headers = {"content-length": str(file.size), "content-disposition": _disposition(file.filename)}
    content = api.node.service.files.content(file)
    return StreamingResponse(content, media_type="application/octet-stream", headers=headers)


@router.delete("/files/{file_id}", summary="Delete a file")
async def delete_file(file: OwnFile, api: Api, caller: CurrentCaller) -> FileDeleted:
    """Delete a file, unless it is the input of a job that is under way."""
    service = api.node.service
    await _refuse_in_use(service, file.id, caller)
    await service.files.delete(file.id)
    return FileDeleted(id=file.id)


async def _refuse_in_use(service: JobService, file_id: str, caller: Caller) -> None:
    for job in await service.jobs.unfinished():
        if job.input_file_id == file_id:
            name = job.id if caller.may_see(job.owner) else "a job of an admin"
            message = f"the file is the input of {name}, which is {job.status}; cancel that first"
            raise ApiError(Problem(409, message, param="id", code="file_in_use"))


def _disposition(filename: str) -> str:
    """Name the download (RFC 6266): the name in ASCII for old clients, and as it is."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
