"""A chat client on bare sockets, so light that a thousand of them tell of the gateway and not of themselves."""

import asyncio
import socket
import time
from dataclasses import dataclass
from typing import Any

import orjson

__all__ = ["Answer", "StreamedAnswer", "ask", "begin"]

CHAT = b"/v1/chat/completions"


@dataclass(frozen=True)
class Answer:
    """A whole answer. `seconds` counts from before the connection was made."""

    status: int
    body: bytes
    seconds: float

    @property
    def events(self) -> list[dict[str, Any]]:
        """The objects of a streamed answer, without `[DONE]`."""
        data = (block.removeprefix(b"data: ") for block in self.body.split(b"\n\n") if block)
        return [orjson.loads(event) for event in data if event != b"[DONE]"]

    @property
    def is_done(self) -> bool:
        """Whether a streamed answer came to its end."""
        return self.body.endswith(b"data: [DONE]\n\n")

    @property
    def text(self) -> str:
        """What a streamed answer says."""
        return "".join(e["choices"][0]["delta"].get("content", "") for e in self.events if "choices" in e)


class StreamedAnswer:
    """An answer that has begun."""

    def __init__(self, status: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, started: float) -> None:
        self.status = status
        self._reader = reader
        self._writer = writer
        self._started = started

    async def rest(self) -> Answer:
        """Read to the end, which is the connection's."""
        raw = await self._reader.read()
        self._writer.close()
        return Answer(self.status, raw, time.perf_counter() - self._started)

    async def whole(self) -> Answer:
        """Read to the end, and take the chunks' frames away."""
        answer = await self.rest()
        return Answer(answer.status, _unchunked(answer.body), answer.seconds)

    def drop(self) -> None:
        """Go away."""
        self._writer.transport.abort()


async def begin(port: int, body: dict[str, Any], receive_buffer: int | None = None) -> StreamedAnswer:
    """Send a chat request and read the answer's head. With `receive_buffer` (bytes), nothing is read ahead but that."""
    started = time.perf_counter()
    sock = socket.socket()
    sock.setblocking(False)
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=receive_buffer or 2**16)
    content = orjson.dumps(body)
    head = b"POST %b HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n" % CHAT
    writer.write(head + b"content-length: %d\r\n\r\n" % len(content) + content)
    answer_head = (await reader.readuntil(b"\r\n\r\n")).lower()
    return StreamedAnswer(int(answer_head.split(b" ", 2)[1]), reader, writer, started)


async def ask(port: int, body: dict[str, Any]) -> Answer:
    """Send a chat request and read the whole answer."""
    answer = await begin(port, body)
    return await (answer.whole() if body.get("stream") and answer.status == 200 else answer.rest())


def _unchunked(raw: bytes) -> bytes:
    """Take the frames of HTTP's chunked encoding away. Raises ValueError where the body stops too early."""
    found, place = bytearray(), 0
    while True:
        line_end = raw.index(b"\r\n", place)
        size = int(raw[place:line_end], 16)
        if not size:
            return bytes(found)
        found += raw[line_end + 2 : line_end + 2 + size]
        place = line_end + 2 + size + 2
