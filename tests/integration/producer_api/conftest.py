"""A server under test, and clients for it."""

import functools
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from live_server import PATIENCE_S, LiveServer, StartServer

from balancer.configuration import Configuration, HealthCheck
from balancer.endpoint import Endpoint
from jobs.node import Node, open_node
from producer_api.context import Limits
from workers.messages import celery_wake


@pytest.fixture(scope="session")
def api_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api-store")


@pytest.fixture
def store_folder(api_store: Path) -> Path:
    """The folder of the object store, emptied."""
    for entry in api_store.iterdir():
        shutil.rmtree(entry)
    return api_store


@pytest.fixture(scope="session")
def configuration(api_store: Path) -> Configuration:
    """Two endpoints that are not called, as no worker runs."""
    endpoints = (
        Endpoint("http://user:secret@127.0.0.1:9/v1", "one", models={"m": "m", "org/long-name": "x"}, api_key="sk-upstream"),
        Endpoint("http://127.0.0.1:9/v1", "two", models={"m": "m"}, provider="vllm"),
    )
    return Configuration(endpoints=endpoints, store=str(api_store), health_check=HealthCheck(enabled=False))


class SharedServer:
    """One server for all tests, and another one when it has seen an API key: it asks for one ever after."""

    def __init__(self, configuration: Configuration, redis_url: str) -> None:
        self._make = functools.partial(LiveServer, configuration, redis_url)
        self._running: LiveServer | None = None

    def get(self) -> LiveServer:
        if self._running is not None and self._running.asks_for_keys:
            self.stop()
        if self._running is None:
            self._running = self._make().start()
        return self._running

    def stop(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None


@pytest.fixture(scope="session")
def shared_server(configuration: Configuration, redis_server: str) -> Iterator[SharedServer]:
    shared = SharedServer(configuration, redis_server)
    yield shared
    shared.stop()


@pytest.fixture
def server(shared_server: SharedServer, redis_url: str, store_folder: Path) -> LiveServer:
    """A server that knows of nothing yet."""
    return shared_server.get()


@pytest.fixture
def start(configuration: Configuration, redis_url: str, store_folder: Path) -> Iterator[StartServer]:
    """Starts servers of a test's own, and stops them at its end."""
    with ExitStack() as stack:

        def start_server(limits: Limits | None = None, url: str = redis_url, **changes: Any) -> LiveServer:
            server = LiveServer(replace(configuration, **changes), url, limits).start()
            stack.callback(server.stop)
            return server

        yield start_server


@pytest.fixture
def http(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture
def sdk(server: LiveServer) -> Iterator[openai.OpenAI]:
    """The official client, as anybody would make it."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0, timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture
async def node(configuration: Configuration, redis_url: str, store_folder: Path) -> AsyncIterator[Node]:
    """Another process's view of the same Redis and store."""
    async with open_node(configuration, redis_url, celery_wake(configuration, redis_url)) as opened:
        yield opened
