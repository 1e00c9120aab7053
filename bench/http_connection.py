"""A client connection that costs little beside what it measures: HTTP/1.1 with keep-alive, one request at a time."""

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

__all__ = ["Answer", "Connection", "post"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `first` and `whole` are the seconds from the request to the first byte of the body, and to its end."""

    status: int
    body: bytes
    first: float
    whole: float


def post(url: str, body: bytes, key: str) -> bytes:
    """Return a request with JSON and an API key as it goes over the wire."""
    where = urlsplit(url)
    lines = (
        f"POST {where.path} HTTP/1.1",
        f"host: {where.netloc}",
        f"authorization: Bearer {key}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "\r\n",
    )
    return "\r\n".join(lines).encode() + body


class Connection(asyncio.Protocol):
    """Open it with `to`. It is also the target of the parser's on_... callbacks."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._sent = 0.0
        self._first = 0.0
        self._pieces: list[bytes] = []

    @classmethod
    async def to(cls, url: str) -> "Connection":
        """Connect to the server of a URL, which names a port. Raises OSError."""
        where = urlsplit(url)
        assert where.hostname and where.port
        _, connection = await asyncio.get_running_loop().create_connection(cls, where.hostname, where.port)
        return connection

    async def ask(self, request: bytes) -> Answer:
        """Send a request and return the whole answer. Raises ConnectionError if the connection ends before."""
        if self._transport is None:
            raise ConnectionError("the server has closed the connection between two requests")
        self._answer = asyncio.get_running_loop().create_future()
        self._pieces = []
        self._first = 0.0
        self._sent = time.perf_counter()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close the connection; twice is harmless."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's isn't a subclass of asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"the connection ended within an answer: {exc or 'closed by the server'}"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            assert self._transport
            self._transport.close()
            self.connection_lost(exc)

    def on_body(self, piece: bytes) -> None:
        self._first = self._first or time.perf_counter()
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        assert self._answer
        now = time.perf_counter()
        status = self._parser.get_status_code()
        self._answer.set_result(Answer(status, b"".join(self._pieces), (self._first or now) - self._sent, now - self._sent))
