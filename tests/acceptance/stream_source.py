"""A model server on the test's own loop whose streams go on when the test says so."""

import asyncio
import socket
import time
from contextlib import AsyncExitStack
from typing import Any, Self

import orjson

from tests.raw_server import serve_connections

__all__ = ["FLOOD", "HELD", "SAID", "StreamSource"]

HELD = "held"
"""The model whose streams wait, after their first chunk, for `go_on`."""
FLOOD = "flood"
"""The model that says as much as it gets rid of, up to `flood_bytes`."""
SAID = " and this is the rest of it"
"""What a held stream ends with."""
EVENT_BYTES = 32 * 1024
"""Of text in one event of a flood."""
SEND_BUFFER = 64 * 1024
"""Bytes: small, so that what the kernel holds for a flood says little."""


class StreamSource:
    """Answers `POST …/chat/completions` in OpenAI's stream format. Use as an async context manager.

    A held stream quotes the request's last message, so that mixed-up streams are seen. `begun` and `ended` count streams,
    `flooded` the bytes of each flood that were got rid of.
    """

    def __init__(self, flood_bytes: int = 0) -> None:
        self.go_on = asyncio.Event()
        self.begun = self.ended = 0
        self.flooded: list[int] = []
        self._flood_bytes = flood_bytes
        self._flooded_at = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._end = AsyncExitStack()
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def open(self) -> int:
        """Connections that are open."""
        return len(self._open)

    @property
    def still_for(self) -> float:
        """Seconds since any flood got rid of anything."""
        return time.monotonic() - self._flooded_at

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    async def __aenter__(self) -> Self:
        self._end.enter_context(self._listener)
        await self._end.enter_async_context(serve_connections(self._listener, self._serve))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._end.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                await _write_models(writer)
                return
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await self._answer(writer, orjson.loads(await reader.readexactly(length)))
        finally:  # as when the gateway went away, or cut a flood off: the tests look at what came of it
            self._open.discard(writer)

    async def _answer(self, writer: asyncio.StreamWriter, request: dict[str, Any]) -> None:
        self.begun += 1
        # Without a length: the answer ends with the connection.
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        if request["model"] == FLOOD:
            await self._flood(writer)
        else:
            writer.write(_event({"role": "assistant", "content": request["messages"][-1]["content"]}))
            await writer.drain()
            await self.go_on.wait()
            writer.write(_event({"content": SAID}))
        writer.write(_event({}, "stop") + b"data: [DONE]\n\n")
        await writer.drain()
        self.ended += 1

    async def _flood(self, writer: asyncio.StreamWriter) -> None:
        number = len(self.flooded)
        self.flooded.append(0)
        event = _event({"content": "x" * EVENT_BYTES})
        while self.flooded[number] < self._flood_bytes:
            writer.write(event)
            await writer.drain()
            self.flooded[number] += len(event)
            self._flooded_at = time.monotonic()


async def _write_models(writer: asyncio.StreamWriter) -> None:
    body = orjson.dumps({"object": "list", "data": [{"id": name, "object": "model"} for name in (HELD, FLOOD)]})
    writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    await writer.drain()


def _event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return b"data: " + orjson.dumps({"id": "s", "object": "chat.completion.chunk", "created": 1, "choices": [choice]}) + b"\n\n"
