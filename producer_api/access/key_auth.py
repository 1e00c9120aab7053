"""Authentication middleware: validates the API key and passes the caller on to the routes."""

import logging
import time

from redis.exceptions import RedisError
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from balancer.runtime.events import add_to_context
from jobs.access import Access, Refused
from jobs.access.browsers import foreign_host, foreign_page
from jobs.access.caller import ANONYMOUS, Caller
from jobs.access.exposure import Door
from jobs.access.key_authenticator import REMEMBERED_SECONDS
from producer_api.access.callers import refusal_response
from producer_api.http.errors import Problem, problem_response, redis_problem

__all__ = ["OPEN_PATHS", "KeyAuth", "KeyEnded"]

OPEN_PATHS = frozenset({"/", "/docs", "/openapi.json", "/health", "/health/ready"})
"""What may be asked without a key: whether the server lives, whether it can do anything, and what the documentation says."""
OPEN_FOLDERS = ("/docs/assets/", "/console/")
"""Files of the documentation and of the console, which holds nothing by itself."""

_BROWSERS = (b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode")
"""Headers that tell what a browser is asked for, and by which page."""

log = logging.getLogger(__name__)


class KeyAuth:
    """ASGI middleware that wants `Authorization: Bearer <key>`, or `x-api-key: <key>`, on every path but OPEN_PATHS, as soon as
    there is any key.

    The caller stands in `request.state.caller` then (a jobs.access.Caller). Needs `app.state.context`.
    """

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 401 before anything of its body is read."""
        asked = scope["type"] == "http" and scope["path"] not in OPEN_PATHS and not scope["path"].startswith(OPEN_FOLDERS)
        refused = await _refusal(scope, self._door) if asked else None
        caller: Caller | None = scope.get("state", {}).get("caller") if asked else None
        if caller is not None and caller.record is not None:
            send = _until_key_ends(send, scope["app"].state.context.access, caller)
        await (refused or self._app)(scope, receive, send)


class KeyEnded(Exception):
    """The key of a request was revoked, or has expired, while its answer was being streamed."""


def _until_key_ends(send: Send, access: Access, caller: Caller) -> Send:
    """Return `send` for as long as the caller's key lives, which is looked at before a piece of a stream is sent, every two
    seconds at most. Then it raises KeyEnded."""
    looked_at = time.monotonic()

    async def send_if_alive(message: Message) -> None:
        nonlocal looked_at
        if message.get("more_body") and time.monotonic() - looked_at >= REMEMBERED_SECONDS:
            if not await access.still_knows(caller):
                raise KeyEnded
            looked_at = time.monotonic()
        await send(message)

    return send_if_alive


async def _refusal(scope: Scope, door: Door) -> Response | None:
    """Put the caller into the scope, and count its request; or return the answer that refuses it."""
    access: Access = scope["app"].state.context.access
    try:
        caller = await access.identify(_bearer(scope))
        if caller is not None:
            await access.admit_http(caller)
    except Refused as refused:
        return refusal_response(refused)
    except RedisError as exc:
        # Here, as the app's own handlers stand further in.
        log.warning("%s %r: Redis: %s", scope["method"], scope["path"], exc)
        return problem_response(redis_problem())
    if caller is ANONYMOUS and not door.insecure and _is_foreign(scope):
        message = "a server without API keys takes no requests of other sites' pages, and none for another host than this machine"
        return problem_response(Problem(403, message, code="foreign_request"))
    if caller is not None:
        scope.setdefault("state", {})["caller"] = caller
        if caller.id:
            add_to_context(by=caller.id)
        return None
    message = "missing, invalid or expired API key; send Authorization: Bearer <key>"
    response = problem_response(Problem(401, message, code="invalid_api_key"))
    response.headers["www-authenticate"] = "Bearer"
    return response


def _is_foreign(scope: Scope) -> bool:
    found = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _BROWSERS}
    host = found.pop(b"host", "")
    if foreign_host(host):
        return True
    return bool(found) and foreign_page(host, *(found.get(name, "") for name in _BROWSERS[1:]))


def _bearer(scope: Scope) -> str:
    """Return the secret that was given, "" if there is none or more than one. Bytes that are no UTF-8 survive as they are.

    Without an `authorization` it is `x-api-key`, where Anthropic's format has it.
    """
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    values = values or [b"Bearer " + value for name, value in scope["headers"] if name == b"x-api-key"]
    scheme, _, token = (bytes(values[0]) if len(values) == 1 else b"").partition(b" ")
    return token.strip().decode("utf-8", "surrogateescape") if scheme.lower() == b"bearer" else ""
