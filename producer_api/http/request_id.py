"""Middleware: a request id, an access log line, and an error response for unexpected exceptions."""

import logging
import re
import secrets
import time
from urllib.parse import quote

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producer_api.http.errors import SERVER_ERROR, Problem, problem_response

__all__ = ["RequestId"]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
"""Ids of clients that are taken over; others are replaced, so that none can forge a log line."""

_POLLED = frozenset({"/health", "/health/ready", "/metrics"})
"""Paths that machines poll: logged at level DEBUG."""
LONGEST_PATH = 200
"""Characters of a path that are logged."""

log = logging.getLogger(__name__)
requests = logging.getLogger("producer_api.requests")
"""One line for each request, when its answer has ended."""


class RequestId:
    """ASGI middleware, around everything that answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope.setdefault("state", {})["request_id"] = _request_id(scope)
        status = 0
        began = time.perf_counter()

        async def framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, framed)
        except ClientDisconnect:
            log.info("request %s: the client went away", request_id)
        except Exception:
            if status:
                # The server cuts the connection, so that a truncated answer is not taken for a whole one.
                raise
            log.exception("request %s failed (%s %r)", request_id, scope["method"], scope["path"])
            problem = Problem(500, f"something went wrong here; the log tells more of request {request_id}", SERVER_ERROR)
            await problem_response(problem)(scope, receive, framed)
        finally:
            _log_request(scope, request_id, status, time.perf_counter() - began)


def _log_request(scope: Scope, request_id: str, status: int, seconds: float) -> None:
    """Write a request's line: no query, which may hold anything, and nothing of a body."""
    level = logging.DEBUG if scope["path"] in _POLLED else logging.INFO
    if requests.isEnabledFor(level):
        caller = scope.get("state", {}).get("caller")
        raw = scope.get("raw_path") or quote(scope["path"]).encode()
        path = raw[:LONGEST_PATH].decode("ascii", "backslashreplace")
        fields = (scope["method"], path, status, seconds, caller.id if caller else "", request_id)
        requests.log(level, "request method=%s path=%s status=%d seconds=%.3f key=%s id=%s", *fields)


def _request_id(scope: Scope) -> str:
    given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
    return given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(16)}"
