"""Middleware: a request id, a line in the logs for each request, and an error response for unexpected exceptions."""

import logging
import random
import re
import time
from typing import Any
from urllib.parse import quote

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from balancer.fleet.sent import Sent
from balancer.runtime.events import Event, audit, is_wanted, log_context
from balancer.runtime.tracing import tracing
from balancer.usage.rates import NANO
from jobs.access import Caller
from producer_api.access.key_auth import KeyEnded
from producer_api.http.errors import SERVER_ERROR, Problem, problem_response

__all__ = ["RequestId"]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
"""Ids of clients that are taken over; others are replaced, so that none can forge a log line."""

_POLLED = frozenset({"/health", "/health/ready", "/metrics"})
"""Paths that machines poll: logged at level DEBUG, and not audited."""
LONGEST_PATH = 200
"""Characters of a path that are logged."""

log = logging.getLogger(__name__)
requests = logging.getLogger("producer_api.requests")
"""One event for each request, when its answer has ended."""


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
        with log_context(request_id=request_id):
            if (traced := tracing()) is None or scope["path"] in _POLLED:
                await self._serve(scope, receive, send, request_id)
                return
            with traced.request(scope["method"], _path(scope), scope["headers"]) as span:
                status = await self._serve(scope, receive, send, request_id)
                span.answered(status, _route(scope) or _path(scope))

    async def _serve(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> int:
        """Serve one request, and return the status of its answer, 0 for none."""
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
        except KeyEnded:
            # The server closes the connection before the end of the answer, so that it is not taken for a whole one.
            log.info("request %s: its key was revoked or has expired; the stream ends", request_id)
        except Exception:
            if status:
                # The server cuts the connection, so that a truncated answer is not taken for a whole one.
                raise
            log.exception("request %s failed (%s %r)", request_id, scope["method"], scope["path"])
            problem = Problem(500, f"something went wrong here; the log tells more of request {request_id}", SERVER_ERROR)
            await problem_response(problem)(scope, receive, framed)
        finally:
            _log_request(scope, status, time.perf_counter() - began)
        return status


def _log_request(scope: Scope, status: int, seconds: float) -> None:
    if scope["path"] not in _POLLED:
        if is_wanted(requests):
            audit(requests, "request", **_fields(scope, status, seconds))
    elif requests.isEnabledFor(logging.DEBUG):
        requests.debug(Event("request", _fields(scope, status, seconds)))


def _fields(scope: Scope, status: int, seconds: float) -> dict[str, Any]:
    """Say what a request was: no query, which may hold anything, and nothing of a body."""
    state = scope.get("state", {})
    caller: Caller | None = state.get("caller")
    sent: Sent | None = state.get("sent")
    return {
        "method": scope["method"],
        "path": _path(scope),
        "route": _route(scope),
        "status": status,
        "seconds": round(seconds, 3),
        "key": caller.id if caller else "",
        "key_name": caller.name if caller and caller.id else None,
        "address": scope["client"][0] if scope.get("client") else None,
        "model": state.get("model"),
        **(_used(sent) if sent is not None else {}),
        "request_id": state["request_id"],
    }


def _path(scope: Scope) -> str:
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    return raw[:LONGEST_PATH].decode("ascii", "backslashreplace")


def _route(scope: Scope) -> str | None:
    """Return the path with its parameters' names; None for one that has none."""
    names = {str(value): f"{{{name}}}" for name, value in (scope.get("path_params") or {}).items()}
    return "/".join(names.get(part, part) for part in scope["path"].split("/")) if names else None


def _used(sent: Sent) -> dict[str, Any]:
    return {
        "endpoint": sent.outcome.endpoint if sent.outcome else None,
        "attempts": len(sent.attempts),
        "tokens": sent.tokens,
        "cost": sent.nano_cost / NANO if sent.nano_cost is not None else None,
    }


def _request_id(scope: Scope) -> str:
    given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
    return given if _REQUEST_ID.fullmatch(given) else f"req_{random.getrandbits(128):032x}"
