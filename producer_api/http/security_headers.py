"""Response headers against caching and misuse in browsers. There are no CORS headers: no other site may read answers."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["SecurityHeaders"]

DOCUMENTATION_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page with Swagger UI, which a script in the page starts."""
CONSOLE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""The console's page, which is all of files of its own."""
POLICY = "default-src 'none'; frame-ancestors 'none'"
"""Should a browser show an answer as a page (a file with a model's words, say), nothing in it runs."""


class SecurityHeaders:
    """ASGI middleware, the outermost one: refusals and errors have the headers too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = _RAW_BY_PATH.get(scope["path"], _RAW)
                message["headers"] = [pair for pair in message["headers"] if pair[0] not in _NAMES] + added
            await send(message)

        await self._app(scope, receive, secured)


_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": POLICY,
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def _raw(policy: str) -> list[tuple[bytes, bytes]]:
    headers = _HEADERS | {"content-security-policy": policy}
    return [(name.encode(), value.encode()) for name, value in headers.items()]


_RAW = _raw(POLICY)
_RAW_BY_PATH = {"/docs": _raw(DOCUMENTATION_POLICY), "/": _raw(CONSOLE_POLICY)}
_NAMES = frozenset(name for name, _ in _RAW)
