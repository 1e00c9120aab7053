"""One client connection: HTTP/1.x parsed as it comes, requests served one at a time and in order."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from typing import cast

import httptools

from api_roadbalancer.mock.chat import ChatExchange
from api_roadbalancer.mock.routes import Routes
from api_roadbalancer.mock.simulation import Simulation
from api_roadbalancer.mock.wire import Request, error_body, response

__all__ = ["Connection"]

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_PIPELINED = 16  # requests waiting on one connection, before reading stops
LINGER_NONE = struct.pack("ii", 1, 0)  # SO_LINGER for 0 s: closing sends a reset

logger = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """The channel of its exchanges, and the target of the parser's on_... callbacks."""

    def __init__(
        self,
        routes: Routes,
        simulation: Simulation,
        loop: asyncio.AbstractEventLoop,
        open_connections: set[Connection],
    ) -> None:
        self._routes = routes
        self._next_number = simulation.next_number
        self._loop = loop
        self._open_connections = open_connections
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._current: Request | None = None
        self._exchange: ChatExchange | None = None
        self._waiting: deque[Request] = deque()
        self._stopped = False  # closed from here: whatever still arrives is ignored
        self.lost: asyncio.Future[None] = loop.create_future()  # done when the connection is no more
        self.on_message_begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's isn't a subclass
        self._open_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_connections.discard(self)
        self._transport = None
        if self._exchange is not None:
            self._exchange.cancel()
        self._stop()
        self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._stopped:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._parser = httptools.HttpRequestParser(self)  # no upgrade: what follows is HTTP/1 again
            self.data_received(data[exc.args[0] :])
        except httptools.HttpParserCallbackError:
            logger.exception("A request could not be served")
            self.close()
        except httptools.HttpParserError as exc:
            self._refuse(str(exc))

    # What the parser calls

    def on_message_begin(self) -> None:
        self._url = b""
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._expects_continue = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 6 and name.lower() == b"expect":
            self._expects_continue = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        if self._expects_continue and self._current is None:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes <= MAX_BODY_BYTES:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._stopped:
            return
        parser = self._parser
        request = Request(
            method=parser.get_method(),
            path=_path(self._url),
            body=self._body[0] if len(self._body) == 1 else b"".join(self._body),
            keep_alive=parser.should_keep_alive(),
            http_1_0=parser.get_http_version() == "1.0",
            number=self._next_number(),
            too_large=self._body_bytes > MAX_BODY_BYTES,
        )
        self._body = []
        if self._current is None and not self._waiting:
            self._start(request)
            return
        self._waiting.append(request)
        if len(self._waiting) >= MAX_PIPELINED and self._transport is not None:
            self._transport.pause_reading()

    # What exchanges call

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def finish(self) -> None:
        request, self._current, self._exchange = self._current, None, None
        if request is not None and not request.keep_alive:
            self.close()
        elif self._waiting:
            self._loop.call_soon(self._start_next)

    def close(self) -> None:
        self._stop()
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        self._stop()
        if self._transport is not None:
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
            self._transport.abort()

    def abort(self) -> None:
        """For the server's own end: an exchange in flight counts as cut off."""
        if self._transport is not None:
            self._transport.abort()

    def _start(self, request: Request) -> None:
        self._current = request
        exchange = self._routes.start(request, self)
        if self._current is request:  # not yet finished
            self._exchange = exchange

    def _start_next(self) -> None:
        if not self._waiting:
            return
        self._start(self._waiting.popleft())
        if self._transport is not None and len(self._waiting) < MAX_PIPELINED:
            self._transport.resume_reading()

    def _refuse(self, reason: str) -> None:
        """For what isn't HTTP; nothing that follows on the connection can be trusted."""
        if self._exchange is not None:
            self._exchange.cancel()
        else:
            body = error_body(f"Not an HTTP request: {reason}", "invalid_request_error")
            self.write(response(NO_REQUEST, 400, body))
        self.close()

    def _stop(self) -> None:
        self._stopped = True
        self._current = self._exchange = None
        self._waiting.clear()


NO_REQUEST = Request(b"", b"", b"", keep_alive=False, http_1_0=False, number=0)


def _path(url: bytes) -> bytes:
    """The path of a request target, which a client of a proxy writes as a whole URL."""
    if not url.startswith(b"/"):
        try:
            url = httptools.parse_url(url).path or b"/"
        except httptools.HttpParserInvalidURLError:
            return url
    return url.partition(b"?")[0]
