"""A transport that sends the head of an answer and its body together."""

import asyncio
from typing import Any

__all__ = ["GatheredWrites"]


class GatheredWrites:
    """Sends two writes of one turn of the event loop in one call of the system: the second, or the end of the turn, sends what
    the first one left.

    uvloop (0.23) calls the system for each write, which is twice for an answer, and the client is woken twice. More than two are
    not gathered: the first piece of a stream does not wait for those behind it.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send data at the end of this turn at the latest."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        else:
            self._held = data
            self._loop.call_soon(self._send)

    def close(self) -> None:
        """Close the connection when what was written has been sent."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            if not self.is_closing():  # the client may have gone meanwhile; uvloop refuses the write then
                self._transport.write(held)
