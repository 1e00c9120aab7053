"""Response headers against caching and misuse in browsers. There are no CORS headers: no other site may read answers."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["SecurityHeaders"]

DOCUMENTATION = frozenset({"/docs"})
"""The page with Swagger UI, which a script in the page starts."""
DOCUMENTATION_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
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
                added = _RAW_DOCUMENTATION if scope["path"] in DOCUMENTATION else _RAW
                message["headers"] = [*(pair for pair in message["headers"] if pair[0] not in _NAMES), *added]
            await send(message)

        await self._app(scope, receive, secured)


_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": POLICY,
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_DOCUMENTATION_HEADERS = _HEADERS | {"content-security-policy": DOCUMENTATION_POLICY}
_RAW = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
_RAW_DOCUMENTATION = [(name.encode(), value.encode()) for name, value in _DOCUMENTATION_HEADERS.items()]
_NAMES = frozenset(name for name, _ in _RAW)
