"""The caller of a request and what it owns, for the routes, and error responses for refused callers.

Objects of other keys are reported as not found (404).
"""

import math
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

from jobs.access import Caller, Refusal, Refused
from jobs.records import FileRecord, Job
from producer_api.context import Api
from producer_api.http.errors import ApiError, Problem, problem_response

__all__ = ["CurrentCaller", "OwnBatch", "OwnFile", "OwnJob", "add_access_handlers", "admin_only", "caller_of", "refusal_response"]

PROBLEMS = {
    Refusal.MODEL: (403, "invalid_request_error", "model_not_allowed"),
    Refusal.PRIORITY: (403, "invalid_request_error", "priority_not_allowed"),
    Refusal.JOBS: (429, "requests", "too_many_jobs"),
    Refusal.REQUESTS: (429, "requests", "rate_limit_exceeded"),
    Refusal.TOKENS: (429, "tokens", "rate_limit_exceeded"),
    Refusal.PARALLEL: (429, "requests", "rate_limit_exceeded"),
    Refusal.STORAGE: (403, "invalid_request_error", "storage_limit_reached"),
    Refusal.BUDGET: (429, "insufficient_quota", "insufficient_quota"),
}
"""Status, `type` and `code` of the error for each refusal, as OpenAI has them where it has them."""


def caller_of(request: Request) -> Caller:
    """Return who sent a request (see auth.KeyAuth)."""
    caller: Caller = request.scope["state"]["caller"]
    return caller


async def _caller_of(request: Request) -> Caller:
    return caller_of(request)


CurrentCaller = Annotated[Caller, Depends(_caller_of)]


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


async def admin_only(caller: CurrentCaller) -> None:
    """Refuse callers that are no admins (a dependency for routers). Raises ApiError."""
    if not caller.admin:
        raise ApiError(Problem(403, "this is for admin keys only", code="admin_key_required"))


def refusal_response(refused: Refused) -> Response:
    """Return the answer that tells a refusal, with the rates and when to come back."""
    status, kind, code = PROBLEMS[refused.kind]
    param = refused.kind.value if refused.kind in (Refusal.MODEL, Refusal.PRIORITY) else None
    response = problem_response(Problem(status, refused.message, kind, param, code))
    response.headers.update(refused.headers)
    if refused.retry_after is not None:
        response.headers["retry-after"] = str(max(1, math.ceil(refused.retry_after)))
    if refused.kind is Refusal.BUDGET:
        # OpenAI's clients repeat a 429 by themselves, unless a header forbids it.
        response.headers["x-should-retry"] = "false"
    return response


def add_access_handlers(app: FastAPI) -> None:
    """Make `app` answer refusals wherever a route raises them."""
    app.add_exception_handler(Refused, _on_refused)


async def _on_refused(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, Refused)
    return refusal_response(exc)
