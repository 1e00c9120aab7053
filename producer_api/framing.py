"""What stands around every answer: an id for the request, and an envelope for what nobody foresaw."""

import logging
import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producer_api.errors import SERVER_ERROR, Problem, problem_response

__all__ = ["Framing"]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
"""Ids of clients that are taken over; others are replaced, so that none can forge a log line."""

log = logging.getLogger(__name__)


class Framing:
    """ASGI middleware, around everything that answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        started = False

        async def framed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, framed)
        except ClientDisconnect:
            log.info("request %s: the client went away", request_id)
        except Exception:
            if started:
                # The server cuts the connection, so that nobody takes the half for the whole.
                raise
            log.exception("request %s failed (%s %r)", request_id, scope["method"], scope["path"])
            problem = Problem(500, f"something went wrong here; the log tells more of request {request_id}", SERVER_ERROR)
            await problem_response(problem)(scope, receive, framed)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(16)}"
