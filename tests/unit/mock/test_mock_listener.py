from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

import pytest
import uvloop

from api_roadbalancer.mock import Behaviour, serve
from api_roadbalancer.mock.listener import Listener
from tests.waiting import until


class Greeter(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


class Scarce(socket.socket):
    """A listening socket for which, the first time, no file descriptor is left."""

    refused = 0

    def accept(self) -> tuple[socket.socket, object]:
        if not self.refused:
            self.refused += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_burst_of_clients_is_taken_in_within_a_few_turns_of_the_loop(run: Callable[..., None]) -> None:
    async def burst() -> None:
        server = await serve(Behaviour())
        clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
        for client in clients:
            client.sendall(b"GET /health HTTP/1.1\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0)
        for client in clients:
            client.setblocking(False)
            assert client.recv(1024).startswith(b"HTTP/1.1 200 OK")
            client.close()
        await server.close()

    run(burst())


async def test_it_tries_again_when_no_connection_could_be_taken(caplog: pytest.LogCaptureFixture) -> None:
    with Scarce() as address, caplog.at_level(logging.WARNING):
        address.bind(("127.0.0.1", 0))
        listener = Listener(asyncio.get_running_loop(), address, Greeter)
        reader, writer = await asyncio.open_connection(*address.getsockname())
        assert await reader.read() == b"hello"
        assert "Too many open files" in caplog.text
        writer.close()
        await listener.close()


async def test_nothing_is_taken_in_after_the_end_not_even_by_a_pending_retry() -> None:
    address = Scarce()
    address.bind(("127.0.0.1", 0))
    listener = Listener(asyncio.get_running_loop(), address, Greeter)
    port = address.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as client:
        await until(lambda: address.refused == 1)
        await listener.close()
        await listener.close()
        with pytest.raises(ConnectionError):
            client.recv(1024)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
