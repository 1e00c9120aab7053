"""A transport that sends the head of an answer and its body together."""

import asyncio
from typing import Any

__all__ = ["GatheredWrites"]

MOST_HELD = 64 * 1024
"""Bytes that are held for the end of the turn; with more, they are sent at once, and the transport may pause its writer."""


class GatheredWrites:
    """Sends what is written within one turn of the event loop in one call of the system.

    uvloop (0.23) calls the system for each write, which is twice for an answer, and the client is woken twice.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._size = 0
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send data at the end of this turn at the latest."""
        if not self._held:
            self._loop.call_soon(self._send)
        self._held.append(data)
        self._size += len(data)
        if self._size > MOST_HELD:
            self._send()

    def close(self) -> None:
        """Close the connection when what was written has been sent."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._held:
            data = b"".join(self._held)
            self._held.clear()
            self._size = 0
            self._transport.write(data)
