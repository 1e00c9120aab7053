"""Middleware that limits the time a client may take to send a request body."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producer_api.http.errors import Problem, problem_response

__all__ = ["WHOLE_BODY", "BodyTimeout"]

WHOLE_BODY = "roadbalancer.whole_body"
"""What the HTTP protocol puts into the scope when it has all of a body."""
PIECE_SECONDS = 30.0
"""Seconds within which the next piece of a body must come."""


class _StoodStill(Exception):
    """The client sent nothing for too long."""


class BodyTimeout:
    """ASGI middleware: a body whose next piece does not come in time is answered with 408. What comes after the body (the client
    going away) may take as long as it likes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or WHOLE_BODY in scope:
            await self._app(scope, receive, send)
            return
        whole = started = False

        async def in_time() -> Message:
            nonlocal whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout(PIECE_SECONDS):
                    message = await receive()
            except TimeoutError:
                raise _StoodStill from None
            whole = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        async def noticed(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, in_time, noticed)
        except _StoodStill:
            if started:
                raise
            message = f"nothing more of the body came for {PIECE_SECONDS:g} s; send it again"
            response = problem_response(Problem(408, message, code="request_timeout"))
            # The rest of the body would be taken for the next request.
            response.headers["connection"] = "close"
            await response(scope, receive, send)
