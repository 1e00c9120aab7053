"""Takes in connections all at once.

An event loop's own server may take one connection per turn (uvloop's does, since libuv 1.46), so that under
load the hundredth client of a burst waits for a hundred turns. Here each turn takes all that wait.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

__all__ = ["Listener"]

BACKLOG = 4096  # connections that the kernel holds until they are taken; a fleet opens many at once
PAUSE_S = 0.1  # before the next try when no connection can be taken

logger = logging.getLogger(__name__)


class Listener:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: socket.socket,
        connect: Callable[[], asyncio.Protocol],
    ) -> None:
        """Listens on a bound socket, from now until closed."""
        self._loop = loop
        self._socket = address
        self._connect = connect
        self._starting: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None
        address.setblocking(False)
        address.listen(BACKLOG)
        loop.add_reader(address, self._take_all)

    async def close(self) -> None:
        """Takes no more; those just taken are connected when it returns. To close twice is harmless."""
        if self._socket.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        await asyncio.gather(*self._starting, return_exceptions=True)

    def _take_all(self) -> None:
        for _ in range(BACKLOG):
            try:
                connection, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:  # such as: no file descriptor is left
                logger.warning("No connection can be taken: %s", exc)
                self._loop.remove_reader(self._socket)
                self._pause = self._loop.call_later(PAUSE_S, self._loop.add_reader, self._socket, self._take_all)
                return
            self._start(connection)

    def _start(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # small pieces leave at once
        task: asyncio.Task[object] = self._loop.create_task(self._loop.connect_accepted_socket(self._connect, connection))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
