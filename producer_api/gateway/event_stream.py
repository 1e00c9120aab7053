"""A response of server-sent events that stops its source when the client disconnects or stalls."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from balancer.runtime.loop import end_tasks

__all__ = ["DONE", "EventStream", "begun"]

DONE = b"data: [DONE]\n\n"
HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no"}
STANDSTILL = 60.0
"""Seconds after which a reader that takes nothing is taken for gone: its source holds a slot that others wait for."""


class EventStream(Response):
    """Sends what `events` yields, piece by piece. A slow reader holds up its own source alone: nothing is gathered for it."""

    def __init__(
        self, events: AsyncGenerator[bytes, None], headers: Mapping[str, str] | None = None, standstill: float = STANDSTILL
    ) -> None:
        super().__init__(headers={**HEADERS, **(headers or {})})
        del self.headers["content-length"]
        self._events = events
        self._standstill = standstill

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything, or until the reader goes away. Raises ClientDisconnect if it stands still."""
        sending = asyncio.ensure_future(self._send_all(send))
        leaving = asyncio.ensure_future(_until_gone(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks(*(task for task in (sending, leaving) if not task.done()))
        if sending.done() and not sending.cancelled():
            sending.result()

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for event in events:
                try:
                    async with asyncio.timeout(self._standstill):
                        await send({"type": "http.response.body", "body": event, "more_body": True})
                except TimeoutError:
                    raise ClientDisconnect from None
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def begun(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Let a generator that yields nothing at first begin: only then does closing it give back what it holds, also for a client
    that has gone before the answer's head is sent."""
    await anext(events)
    return events


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
