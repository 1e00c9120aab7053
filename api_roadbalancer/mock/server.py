"""Runs the simulated server: inside an event loop, or as a program of its own."""

from __future__ import annotations

import asyncio
import signal
import socket

from api_roadbalancer.mock.behaviour import Behaviour
from api_roadbalancer.mock.listener import Listener
from api_roadbalancer.mock.protocol import Connection
from api_roadbalancer.mock.routes import Routes
from api_roadbalancer.mock.simulation import Simulation
from balancer.runtime.process import raise_descriptor_limit

__all__ = ["MockServer", "run", "serve"]

DEFAULT_HOST = "127.0.0.1"


class MockServer:
    """A server that listens. `simulation` has its behaviour and its counts, for use in the same loop."""

    def __init__(
        self, listener: Listener, connections: set[Connection], simulation: Simulation, address: tuple[str, int]
    ) -> None:
        self.simulation = simulation
        self.host, self.port = address
        self._listener = listener
        self._connections = connections

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"

    async def close(self) -> None:
        """At once: requests in flight lose their connection."""
        await self._listener.close()
        connections = tuple(self._connections)
        for connection in connections:
            connection.abort()
        await asyncio.gather(*(connection.lost for connection in connections))


async def serve(behaviour: Behaviour, host: str = DEFAULT_HOST, port: int = 0) -> MockServer:
    """`port` 0 takes a free one. Raises OSError where the address is taken."""
    loop = asyncio.get_running_loop()
    simulation = Simulation(behaviour)
    routes = Routes(simulation, loop)
    connections: set[Connection] = set()

    def connect() -> Connection:
        return Connection(routes, simulation, loop, connections)

    address = await _bound_socket(host, port)
    listener = Listener(loop, address, connect)
    return MockServer(listener, connections, simulation, (host, address.getsockname()[1]))


def run(behaviour: Behaviour, host: str = DEFAULT_HOST, port: int = 0) -> None:
    """Serves until SIGTERM or SIGINT."""
    raise_descriptor_limit()
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve_until_stopped(behaviour, host, port))
    else:
        uvloop.run(_serve_until_stopped(behaviour, host, port))


async def _bound_socket(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, address = found[0]
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


async def _serve_until_stopped(behaviour: Behaviour, host: str, port: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopped.set)
    server = await serve(behaviour, host, port)
    print(f"mock server listening on {server.url}", flush=True)
    await stopped.wait()
    await server.close()
