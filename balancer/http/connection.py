"""One connection to an endpoint: HTTP/1.1 with keep-alive (RFC 9112), one request at a time.

The parser is llhttp, Node's, which also serves uvicorn.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import cast

import httptools

from balancer.http.client import Headers, HttpAnswer, HttpStream
from balancer.http.errors import AnswerTooLarge, ConnectionBroken, HttpError, ProtocolError, RequestTimeout
from balancer.http.unpacking import Unpacker, unpacker_for

__all__ = ["Connection"]

MAX_HEAD_BYTES = 256 * 1024
"""Bytes of an answer before its body."""
GULP_EVERY = 0.2
"""Seconds between two reads of an answer in gulps. What comes meanwhile waits in the socket's buffer."""
PAUSE_ABOVE = 256 * 1024
"""Bytes of a streamed body that wait for their reader before no more are read from the socket."""


class Connection(asyncio.Protocol):
    """Also the target of the parser's on_... callbacks. Every request but the last one has been answered whole."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[HttpAnswer] | None = None
        self._stream: ConnectionStream | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._limit = 0
        self._in_gulps = False
        self._next_gulp: asyncio.TimerHandle | None = None
        self.idle_since = 0.0
        """When the last answer was whole, by the loop's clock."""
        self.is_reusable = True
        """Whether another request may follow once this one is answered."""
        self._is_answered = True
        self._begin_answer()

    def _begin_answer(self) -> None:
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._has_head = False
        self._pieces: list[bytes] = []
        self._size = 0
        self._unpacker: Unpacker | None = None

    # ---- what the client calls ----

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def send(self, message: bytes, timeout: float, limit: int, in_gulps: bool = False) -> HttpAnswer:
        """Send a request and return its whole answer, of at most `limit` bytes. Raises HttpError.

        With `in_gulps` the answer is read a few times a second: one that comes in hundreds of small pieces costs little then.
        """
        self._limit = limit
        self._in_gulps = in_gulps
        answer: asyncio.Future[HttpAnswer] = self._loop.create_future()
        self._answer = answer
        self._write(message, timeout)
        try:
            return await answer
        except BaseException:
            self.abort()
            raise
        finally:
            self._answer = None
            if in_gulps:
                self._end_gulps()

    async def open_stream(self, message: bytes, timeout: float) -> "ConnectionStream":
        """Send a request and return its answer once the head is there. Raises HttpError."""
        self._stream = stream = ConnectionStream(self)
        self._write(message, timeout)
        try:
            await stream.wait_for_head()
        except BaseException:
            self.close_stream()
            raise
        return stream

    def close_stream(self) -> None:
        """Leave a stream, which aborts the request unless it has been answered whole."""
        if self._stream is not None and not self._stream.is_whole:
            self.abort()
        self._stream = None

    def fail(self, error: HttpError) -> None:
        """End the request in flight, which raises `error`, and the connection."""
        self.is_reusable = False
        self._stop_timer()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        if self._stream is not None:
            self._stream.fail(error)
        self.abort()

    def abort(self) -> None:
        """Close the connection without waiting for anything."""
        self.is_reusable = False
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()

    def pause(self, paused: bool) -> None:
        """Stop or go on reading from the socket."""
        if self.is_open:
            assert self._transport
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _write(self, message: bytes, timeout: float) -> None:
        self._begin_answer()
        self._is_answered = False
        self._timer = self._loop.call_later(timeout, self._timed_out, timeout)
        assert self._transport
        self._transport.write(message)

    def _end_gulps(self) -> None:
        self._in_gulps = False
        if self._next_gulp is not None:
            self._next_gulp.cancel()
        self.pause(False)

    def _timed_out(self, timeout: float) -> None:
        self.fail(RequestTimeout(timeout))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ---- what the event loop calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        if self._is_answered:
            self.abort()  # nothing was asked for: what comes now would be taken for the next answer
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as exc:
            cause = exc.__context__
            self.fail(cause if isinstance(cause, HttpError) else ProtocolError(f"{type(cause).__name__} in an answer"))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self.fail(ProtocolError(f"an answer that is not HTTP/1.1 ({exc})"))
        if self._in_gulps and not self._is_answered and self.is_open:
            self.pause(True)
            self._next_gulp = self._loop.call_later(GULP_EVERY, self.pause, False)
        if not self._has_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.fail(ProtocolError(f"the headers of an answer are larger than {MAX_HEAD_BYTES} bytes"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_reusable = False
        self._transport = None
        if self._has_head and exc is None and self._ends_with_the_connection():
            self.on_message_complete()
            return
        within = "within the answer" if self._status or self._head_bytes else "before an answer"
        reason = getattr(exc, "strerror", None) or (str(exc) if exc else "closed by the server")
        self.fail(ConnectionBroken(f"the connection ended {within}: {reason}"))

    def _ends_with_the_connection(self) -> bool:
        """Whether the body has no other end (RFC 9112, 6.3)."""
        names = {name.lower() for name, _ in self._headers}
        return not names & {b"content-length", b"transfer-encoding"}

    # ---- what the parser calls ----

    def on_message_begin(self) -> None:
        if self._is_answered:
            self.is_reusable = False  # more than one answer to a request

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        if self._status < 200:
            return
        self._has_head = True
        for name, value in self._headers:
            if len(name) == 16 and name.lower() == b"content-encoding":
                self._unpacker = unpacker_for(value.decode("latin-1"))
        if self._stream is not None:
            self._stream.take_head(self._status, _headers(self._headers, self._unpacker), self._unpacker)

    def on_body(self, piece: bytes) -> None:
        if self._stream is not None:
            self._stream.take(piece)
        elif self._unpacker is None:
            self._keep(piece)
        else:
            for unpacked in self._unpacker.pieces(piece):
                self._keep(unpacked)

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            raise AnswerTooLarge(self._limit)
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        if self._status < 200:  # an interim answer (RFC 9110, 15.2); the final one follows
            self._begin_answer()
            return
        self._stop_timer()
        self._is_answered = True
        self.is_reusable = self.is_reusable and self._parser.should_keep_alive()
        self.idle_since = self._loop.time()
        if self._stream is not None:
            self._stream.end()
        elif self._unpacker is not None and not self._unpacker.is_complete:
            self.fail(ConnectionBroken("a compressed answer is cut off"))
        elif self._answer is not None and not self._answer.done():
            pieces = self._pieces
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._answer.set_result(HttpAnswer(self._status, _headers(self._headers, self._unpacker), body))


def _headers(items: list[tuple[bytes, bytes]], unpacker: Unpacker | None) -> Headers:
    """Return the headers as they are true of the body that is handed on."""
    if unpacker is None:
        return Headers(items)
    return Headers([item for item in items if item[0].lower() not in (b"content-encoding", b"content-length")])


class ConnectionStream(HttpStream):
    """An answer that is read as it comes. What its reader has not taken yet is bounded."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: deque[bytes] = deque()
        self._unpacked: Iterator[bytes] = iter(())
        self._size = 0
        self._paused = False
        self._error: HttpError | None = None
        self._news = asyncio.Event()
        self._unpacker: Unpacker | None = None
        self.is_whole = False
        self.status = 0
        self.headers = Headers(())

    async def wait_for_head(self) -> None:
        """Wait until `status` and `headers` are there."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait()

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()

    async def __anext__(self) -> bytes:
        while True:
            piece = next(self._unpacked, None)
            if piece is not None:
                return piece
            if self._waiting:
                piece = self._waiting.popleft()
                self._size -= len(piece)
                self._pace()
                if self._unpacker is None:
                    return piece
                self._unpacked = self._unpacker.pieces(piece)
            elif self._error is not None:
                raise self._error
            elif self.is_whole:
                if self._unpacker is not None and not self._unpacker.is_complete:
                    raise ConnectionBroken("a compressed answer is cut off")
                raise StopAsyncIteration
            else:
                await self._wait()

    def _pace(self) -> None:
        if self._paused != (self._size > PAUSE_ABOVE):
            self._paused = not self._paused
            self._connection.pause(self._paused)

    # ---- what the connection calls ----

    def take_head(self, status: int, headers: Headers, unpacker: Unpacker | None) -> None:
        self.status, self.headers, self._unpacker = status, headers, unpacker
        self._news.set()

    def take(self, piece: bytes) -> None:
        self._waiting.append(piece)
        self._size += len(piece)
        self._pace()
        self._news.set()

    def end(self) -> None:
        self.is_whole = True
        self._news.set()

    def fail(self, error: HttpError) -> None:
        if not self.is_whole:
            self._error = self._error or error
            self._news.set()
