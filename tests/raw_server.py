"""A server whose connections a test serves itself, on its own loop."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

__all__ = ["Serve", "serve_connections", "serve_raw"]

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HANDSHAKE_S = 5.0
"""That a client has for its TLS handshake; the end of a server waits for those that have begun."""


@asynccontextmanager
async def serve_raw(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Listen on a free port of loopback, serve each connection, and yield the URL (`…/v1`). At the end all are closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with serve_connections(listener, serve, tls):
            yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}/v1"


@asynccontextmanager
async def serve_connections(listener: socket.socket, serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    """Serve each connection to `listener` until the end, by which each is closed, those too that have just been accepted.

    `asyncio.start_server` has no such end before Python 3.12: it leaves a connection open whose task has not begun.
    """
    loop = asyncio.get_running_loop()
    starting: set[asyncio.Task[None]] = set()
    served: dict[asyncio.Task[None], tuple[_Protocol, asyncio.StreamWriter]] = {}

    def accept() -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            connection, _ = listener.accept()
            task = loop.create_task(start(connection))
            starting.add(task)
            task.add_done_callback(starting.discard)

    async def start(connection: socket.socket) -> None:
        connection.setblocking(False)
        protocol = _Protocol(asyncio.StreamReader(), lambda *streams: connected(protocol, *streams))
        with contextlib.suppress(OSError):  # the client has left within the TLS handshake
            await loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=tls, ssl_handshake_timeout=HANDSHAKE_S if tls else None
            )

    def connected(protocol: _Protocol, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served[loop.create_task(answer(reader, writer))] = protocol, writer

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            writer.close()

    listener.setblocking(False)
    loop.add_reader(listener, accept)
    try:
        yield
    finally:
        loop.remove_reader(listener)
        await asyncio.gather(*starting)
        for protocol, writer in served.values():
            if not protocol.is_lost:
                writer.transport.abort()
        await asyncio.gather(*served)
        await asyncio.gather(*(writer.wait_closed() for _, writer in served.values()), return_exceptions=True)


class _Protocol(asyncio.StreamReaderProtocol):
    """Knows whether its connection has ended: to abort one that has sent what was left and closed is an error in asyncio."""

    is_lost = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        super().connection_lost(exc)
