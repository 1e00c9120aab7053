"""uvicorn's HTTP protocol with limits on request heads and connections, and word of callers that have gone."""

import asyncio
import random
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from producer_api.http.body_timeout import WHOLE_BODY
from producer_api.http.disconnect import note_disconnect
from producer_api.http.gathered_writes import GatheredWrites
from producer_api.http.peers import Peers

__all__ = ["HEAD_BYTES", "HEAD_SECONDS", "MOST_CONNECTIONS", "BoundedProtocol", "protocol_for"]

HEAD_BYTES = 64 * 1024
"""Bytes of a request's line and headers; more are answered with 431."""
HEAD_SECONDS = 10.0
"""Seconds from the first byte (or the connection) to a whole head."""
SPREAD_SECONDS = 2.0
MOST_CONNECTIONS = 8192
"""Connections at once; further ones are closed."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A head that is too large or too slow ends it, and so does an address that has its fill of them."""

    peers = Peers(None)
    """Those of all connections of a server; see `protocol_for`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_fed = 0
        self._in_head = True
        self._deadline: asyncio.TimerHandle | None = None
        self._peer: str | None = None
        """The address for which this connection is counted."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(GatheredWrites(transport, self.loop))  # type: ignore[arg-type]
        if len(self.connections) > MOST_CONNECTIONS:
            transport.close()
            return
        address = self.client[0] if self.client else ""
        if not self.peers.enter(address):
            self._refuse(b"429 Too Many Requests", f"more than {self.peers.limit} connections from one address")
            return
        self._peer = address
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting, and end what is done for a caller that has gone."""
        self._stop_waiting()
        if self._peer is not None:
            self.peers.leave(self._peer)
        super().connection_lost(exc)
        if self.cycle is not None and not self.cycle.response_complete:
            note_disconnect(self.cycle.scope)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Take bytes in; those of a head that is not whole yet are counted."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_head:
            # Most heads come whole, and need no timer.
            if self._deadline is None:
                self._wait_for_head()
            self._head_fed += len(data)
            if self._head_fed > HEAD_BYTES and not self.transport.is_closing():
                self._refuse(b"431 Request Header Fields Too Large", f"the head is larger than {HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._head_fed = 0
        self._in_head = True

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        if self._deadline is not None:
            self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is whole: nothing of it is waited for any more."""
        super().on_message_complete()
        self.scope[WHOLE_BODY] = True  # type: ignore[literal-required]

    def _wait_for_head(self) -> None:
        # Spread out, so that connections that were opened together are not all closed in one turn of the loop.
        self._deadline = self.loop.call_later(HEAD_SECONDS + SPREAD_SECONDS * random.random(), self._too_slow)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self._refuse(b"408 Request Timeout", f"no whole head came within {HEAD_SECONDS:g} s")

    def _refuse(self, status: bytes, message: str) -> None:
        body = b'{"error":{"message":"%b","type":"invalid_request_error","param":null,"code":null}}' % message.encode()
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(b"HTTP/1.1 " + status + b"\r\n" + head + body)
        self.transport.close()


def protocol_for(connections_per_address: int | None) -> type[BoundedProtocol]:
    """Return the protocol of one server, on which an address may have so many connections, None for any number."""
    return type("BoundedProtocol", (BoundedProtocol,), {"peers": Peers(connections_per_address)})
