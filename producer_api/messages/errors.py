"""Errors in Anthropic's format: `{"type": "error", "error": {"type", "message"}, "request_id"}`.

Error responses of the routes below `/v1/messages` are created in OpenAI's format, as all are, and converted by this middleware.
"""

from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producer_api.http.errors import Problem

__all__ = ["AnthropicErrors", "error_type", "is_messages_path", "stream_error"]

PREFIXES = ("/v1/messages", "/messages")
_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 409: "conflict_error", 413: "request_too_large", 422: "invalid_request_error",
    429: "rate_limit_error", 503: "overloaded_error", 504: "timeout_error", 507: "api_error", 529: "overloaded_error",
}  # fmt: skip


def is_messages_path(path: str) -> bool:
    """Whether requests to a path are in Anthropic's format."""
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in PREFIXES)


def error_type(status: int) -> str:
    """Return Anthropic's type of an error with an HTTP status."""
    return _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")


def stream_error(problem: Problem) -> dict[str, Any]:
    """Return the `error` of an error event within a stream."""
    return {"type": error_type(problem.status), "message": problem.message}


class AnthropicErrors:
    """ASGI middleware, inside `RequestId` and around everything else that answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and is_messages_path(scope["path"]):
            await self._app(scope, receive, _Rewriter(send, scope["state"]["request_id"]).send)
        else:
            await self._app(scope, receive, send)


class _Rewriter:
    """Forwards a response; the body of an error response is buffered and converted."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self._head: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"request-id", self._request_id.encode())]
            if message["status"] >= 400:
                self._head = message
                return
        if self._head is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        body = self._rewritten(self._head["status"])
        headers = [(name, value) for name, value in self._head["headers"] if name != b"content-length"]
        await self._send({**self._head, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
        await self._send({"type": "http.response.body", "body": body})

    def _rewritten(self, status: int) -> bytes:
        try:
            error = {"type": error_type(status), "message": orjson.loads(self._body)["error"]["message"]}
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return self._body
        return orjson.dumps({"type": "error", "error": error, "request_id": self._request_id})
