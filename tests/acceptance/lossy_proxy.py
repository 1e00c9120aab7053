"""A TCP proxy that can lose everything for a while without closing anything, as a firewall does that forgets its connections."""

import asyncio
import contextlib
import socket
import ssl
from contextlib import AsyncExitStack
from typing import Self

from tests.raw_server import serve_connections

__all__ = ["LossyProxy"]


class LossyProxy:
    """Passes bytes on to `port` of loopback, except while `losing`. Use as an async context manager.

    A connection that was open meanwhile stays dead: what is sent on it is lost, without a word. New ones work again. With `tls`,
    it ends the encryption in front of a server that has none.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._tls = tls
        self._losing = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._end = AsyncExitStack()
        self._open: dict[asyncio.StreamWriter, bool] = {}
        """Both ends of each connection, and whether it is dead."""

    @property
    def port(self) -> int:
        """Where it listens."""
        found: int = self._listener.getsockname()[1]
        return found

    def lose(self) -> None:
        """Lose all that is sent from now on."""
        self._losing = True
        self._open = dict.fromkeys(self._open, True)

    def heal(self) -> None:
        """Let new connections work again."""
        self._losing = False

    async def __aenter__(self) -> Self:
        self._end.enter_context(self._listener)
        await self._end.enter_async_context(serve_connections(self._listener, self._serve, self._tls))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._end.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._open |= dict.fromkeys((writer, back), self._losing)
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        with contextlib.suppress(ConnectionError):
            await back.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if not self._open[writer]:
                    writer.write(data)
                    await writer.drain()
        except ConnectionError:
            pass  # one side has left
        finally:
            del self._open[writer]
            writer.close()
