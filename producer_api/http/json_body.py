"""Reads JSON bodies of bounded size (orjson refuses invalid JSON such as lone surrogates)."""

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from producer_api.context import ApiContext
from producer_api.http.errors import ApiError, Problem

__all__ = ["JsonRoute", "bounded_body", "check_brackets"]

MOST_BRACKETS = 200_000
"""Opening brackets in a body."""


class JsonRoute(APIRoute):
    """A route whose body, if it has one, is JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, reading bodies our way."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_JsonRequest(request.scope, request.receive))

        return handle


class _JsonRequest(Request):
    _whole: bytes | None = None

    async def body(self) -> bytes:
        if self._whole is None:
            self._whole = await bounded_body(self)
            check_brackets(self._whole)
        return self._whole

    async def json(self) -> Any:
        return orjson.loads(await self.body())


async def bounded_body(request: Request) -> bytes:
    """Read a body of at most the size that the app allows. Raises ApiError (413), ClientDisconnect."""
    context: ApiContext = request.app.state.context
    limit = context.limits.json_bytes
    if _announced(request) > limit:
        raise _too_large(limit)
    body = bytearray()
    while True:  # as Request.stream does, without a generator: most bodies come whole
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        if len(body) + len(chunk) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return bytes(body + chunk) if body else chunk
        body += chunk


def check_brackets(body: bytes) -> None:
    """Refuse a body that would take many times its size when it is parsed: each list or object takes some 60 bytes.

    Raises ApiError (413).
    """
    if len(body) > MOST_BRACKETS and body.count(b"[") + body.count(b"{") > MOST_BRACKETS:
        message = f"the body has more than {MOST_BRACKETS} lists and objects (brackets in texts count); upload a file instead"
        raise ApiError(Problem(413, message, code="request_too_large"))


def _announced(request: Request) -> int:
    length = next((value for name, value in request.scope["headers"] if name == b"content-length"), b"")
    return int(length) if length.isdigit() else 0


def _too_large(limit: int) -> ApiError:
    message = f"the body is larger than {limit} bytes; upload a file and give its id instead"
    return ApiError(Problem(413, message, code="request_too_large"))
