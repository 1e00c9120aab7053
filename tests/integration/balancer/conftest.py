"""Model servers on a thread of their own, and balancers over both back ends."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from api_roadbalancer.mock import Behaviour, MockServer, serve
from balancer import Endpoint, LoadBalancer
from balancer.runtime.background import BackgroundLoop

Start = Callable[..., Awaitable[MockServer]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts simulated servers."""
    started: list[MockServer] = []

    async def start_server(**options: object) -> MockServer:
        started.append(await serve(Behaviour().changed(options)))
        return started[-1]

    yield start_server
    for server in started:
        await server.close()


class Servers:
    """Starts model servers; each is reached by its number in the order of the starts."""

    def __init__(self) -> None:
        self._loop = BackgroundLoop("model servers")
        self._running: list[MockServer] = []

    def start(self, *, port: int = 0, **behaviour: Any) -> MockServer:
        server = self._loop.run(serve(Behaviour(**behaviour), port=port))
        self._running.append(server)
        return server

    def stop(self, server: MockServer) -> None:
        self._running.remove(server)
        self._loop.run(server.close())

    def change(self, server: MockServer, **changes: Any) -> None:
        async def change() -> None:
            server.simulation.change(server.simulation.behaviour.changed(changes))

        self._loop.run(change())

    def close(self) -> None:
        for server in list(self._running):
            self.stop(server)
        self._loop.close()


@pytest.fixture
def servers() -> Iterator[Servers]:
    made = Servers()
    yield made
    made.close()


@pytest.fixture(params=["memory", "redis"])
def shared(request: pytest.FixtureRequest) -> str | None:
    """The `redis_url` of either back end."""
    if request.param == "memory":
        return None
    url: str = request.getfixturevalue("redis_url")
    return url


Make = Callable[..., LoadBalancer]


@pytest.fixture
def balance(shared: str | None) -> Iterator[Make]:
    """Makes balancers over servers (or endpoints), without health checks unless asked for; they are closed at the end."""
    made: list[LoadBalancer] = []

    def make(*targets: MockServer | Endpoint, **options: Any) -> LoadBalancer:
        endpoints = [
            target if isinstance(target, Endpoint) else Endpoint(target.url, name=f"s{index}")
            for index, target in enumerate(targets)
        ]
        defaults = {"strategy": "round_robin", "enable_health_check": False, "timeout": 5.0, "redis_url": shared}
        made.append(LoadBalancer(endpoints, **defaults | options))
        return made[-1]

    yield make
    for each in made:
        each.close()
