"""Lets in who has a key."""

from collections.abc import Sequence
from secrets import compare_digest

from starlette.types import ASGIApp, Receive, Scope, Send

from producer_api.errors import Problem, problem_response

__all__ = ["BearerAuth"]

OPEN_PATHS = frozenset({"/health"})
"""What may be asked without a key: whether the server lives."""


class BearerAuth:
    """ASGI middleware that wants `Authorization: Bearer <key>` with one of `keys` on every path but OPEN_PATHS."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 401 before anything of its body is read."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._knows(_bearer(scope)):
            await self._app(scope, receive, send)
            return
        message = "give an API key of this server: Authorization: Bearer <key>"
        response = problem_response(Problem(401, message, code="invalid_api_key"))
        response.headers["www-authenticate"] = "Bearer"
        await response(scope, receive, send)

    def _knows(self, given: bytes) -> bool:
        # Every key is compared in full, so that the time taken tells nothing.
        return any([compare_digest(given, key) for key in self._keys])


def _bearer(scope: Scope) -> bytes:
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    scheme, _, token = (values[0] if len(values) == 1 else b"").partition(b" ")
    return bytes(token.strip()) if scheme.lower() == b"bearer" else b""
