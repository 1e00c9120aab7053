"""A TCP proxy that can lose everything for a while without closing anything, as a firewall does that forgets its connections."""

import asyncio
import ssl
from typing import Self

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
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, bool] = {}
        """Both ends of each connection, and whether it is dead."""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    def lose(self) -> None:
        """Lose all that is sent from now on."""
        self._losing = True
        self._open = dict.fromkeys(self._open, True)

    def heal(self) -> None:
        """Let new connections work again."""
        self._losing = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            self._open |= dict.fromkeys((writer, back), self._losing)
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        except ConnectionError:
            pass  # one side has left
        finally:
            self._tasks.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if not self._open[writer]:
                    writer.write(data)
                    await writer.drain()
        finally:
            del self._open[writer]
            writer.close()
