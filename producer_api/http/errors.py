"""Error responses in OpenAI's format: `{"error": {"message", "type", "param", "code"}}`.

No answer holds a request's content, a key or an address of a server behind this one.
"""

import errno
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import Response

from balancer.errors import SharedStateUnavailable
from jobs.errors import InvalidRequest, NotFound, NotReady
from jobs.storage.object_store import ObjectStoreError
from producer_api.http.rendering import JsonBytes

__all__ = ["ApiError", "Problem", "add_error_handlers", "problem_response", "redis_problem"]

INVALID_REQUEST = "invalid_request_error"
UNAVAILABLE = "service_unavailable_error"
SERVER_ERROR = "server_error"
MAX_MESSAGE = 1000
"""Characters of a message: what a client sent may come back in it, shortened."""
RETRY_AFTER = "2"
"""Seconds after which a client may ask again when something behind the API is away."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, for the client. `param` names the field that it is about."""

    status: int
    message: str
    type: str = INVALID_REQUEST
    param: str | None = None
    code: str | None = None


class ApiError(HTTPException):
    """Ends a request with `problem`."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.status, problem.message)


def problem_response(problem: Problem) -> Response:
    """Return the answer that tells `problem`."""
    message = problem.message if len(problem.message) <= MAX_MESSAGE else problem.message[:MAX_MESSAGE] + " …"
    error = {"message": message, "type": problem.type, "param": problem.param, "code": problem.code}
    headers = {"retry-after": RETRY_AFTER} if problem.status == 503 else None
    return JsonBytes({"error": error}, problem.status, headers)


def redis_problem() -> Problem:
    """Return the error response while Redis is unavailable."""
    message = "Redis can't be reached or refuses to work; nothing is lost, try again in a moment"
    return Problem(503, message, UNAVAILABLE, code="redis_unavailable")


def add_error_handlers(app: FastAPI) -> None:
    """Make `app` answer every error that is foreseen; the rest is `framing`'s."""
    handlers: dict[type[Exception], Any] = {
        StarletteHTTPException: _on_http_error,
        RequestValidationError: _on_validation_error,
        InvalidRequest: _on_invalid_request,
        NotFound: _on_not_found,
        NotReady: _on_not_ready,
        RedisError: _on_redis_error,
        SharedStateUnavailable: _on_redis_error,
        ObjectStoreError: _on_store_error,
        OSError: _on_store_error,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


async def _on_http_error(request: Request, exc: StarletteHTTPException) -> Response:
    if isinstance(exc, ApiError):
        return problem_response(exc.problem)
    message, code = str(exc.detail), None
    if exc.status_code == 404:
        message, code = f"there is no route {request.method} {request.url.path}", "unknown_url"
    elif exc.status_code == 405:
        message, code = f"{request.method} is not allowed at {request.url.path}", "method_not_allowed"
    response = problem_response(Problem(exc.status_code, message, code=code))
    response.headers.update(exc.headers or {})
    return response


async def _on_validation_error(request: Request, exc: RequestValidationError) -> Response:
    first = exc.errors()[0]
    if first["type"] == "json_invalid":
        message = f"the body is not valid JSON: {first['ctx']['error']} (character {first['loc'][-1]})"
        return problem_response(Problem(400, message, code="invalid_json"))
    status = 422 if request.url.path.startswith("/api/") else 400
    param = _param(first["loc"])
    if param is None:
        message = "the body must be a JSON object, sent with Content-Type: application/json"
        return problem_response(Problem(status, first["msg"] if first["type"] == "value_error" else message))
    if first["type"] == "extra_forbidden":
        return problem_response(Problem(status, f"unknown parameter: {param}", param=param, code="unknown_parameter"))
    if first["type"] == "missing":
        message = f"missing required parameter: {param}"
        return problem_response(Problem(status, message, param=param, code="missing_required_parameter"))
    reason = str(first["msg"]).removeprefix("Value error, ")
    return problem_response(Problem(status, f"{param}: {reason}", param=param, code="invalid_value"))


def _param(location: Sequence[int | str]) -> str | None:
    """Name the field that a validation error is about: `output_expires_after.seconds`, `prompts[3]`."""
    path = ""
    for step in location[1:]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path or None


async def _on_invalid_request(_: Request, exc: InvalidRequest) -> Response:
    return problem_response(Problem(400, str(exc), param=exc.param, code=exc.code))


async def _on_not_found(_: Request, exc: NotFound) -> Response:
    return problem_response(Problem(404, str(exc), param="id", code="not_found"))


async def _on_not_ready(_: Request, exc: NotReady) -> Response:
    return problem_response(Problem(409, str(exc), code="not_ready"))


async def _on_redis_error(request: Request, exc: Exception) -> Response:
    log.warning("%s %r: Redis: %s", request.method, request.url.path, exc)
    return problem_response(redis_problem())


async def _on_store_error(request: Request, exc: Exception) -> Response:
    # obstore adds some lines on its own inside.
    log.error("%s %r: object store: %s", request.method, request.url.path, str(exc).partition("\n")[0])
    if isinstance(exc, FileNotFoundError):
        return problem_response(Problem(404, "the content is not in the object store any more", code="content_not_found"))
    if _is_full(exc):
        message = "the object store is full; free some space or delete files, then try again"
        return problem_response(Problem(507, message, SERVER_ERROR, code="insufficient_storage"))
    message = "the object store can't be used right now; try again in a moment"
    return problem_response(Problem(503, message, UNAVAILABLE, code="object_store_unavailable"))


def _is_full(exc: Exception) -> bool:
    # obstore reports the errors of a folder as text.
    full = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(exc, OSError):
        return exc.errno in full
    return any(f"os error {number})" in str(exc) for number in full)
