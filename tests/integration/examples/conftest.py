"""Simulated servers on a loop of their own, for programs that wait for their answers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from api_roadbalancer.mock import Behaviour, MockServer, serve
from balancer.runtime.background import BackgroundLoop

StartMock = Callable[..., MockServer]


@pytest.fixture
def start_mock() -> Iterator[StartMock]:
    """Starts simulated servers, and stops them at the test's end."""
    loop = BackgroundLoop("simulated servers")
    started: list[MockServer] = []

    def start(**behaviour: object) -> MockServer:
        started.append(loop.run(serve(Behaviour(**behaviour))))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for server in started:
        loop.run(server.close())
    loop.close()


@pytest.fixture
def two_mocks(start_mock: StartMock) -> list[MockServer]:
    """Two simulated servers that answer."""
    return [start_mock(), start_mock()]


@pytest.fixture
def fleet_file(two_mocks: list[MockServer], tmp_path: Path) -> Path:
    """A configuration file that names them."""
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump({"endpoints": [{"url": server.url} for server in two_mocks]}))
    return path
