"""A server under test, and clients for it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from live_server import PATIENCE_S, LiveServer

from balancer.configuration import Configuration
from balancer.endpoint import Endpoint
from jobs.node import Node, open_node
from producer_api.context import Limits

StartServer = Callable[..., LiveServer]


@pytest.fixture
def configuration(store_folder: Path) -> Configuration:
    """Two endpoints that nobody calls, as no worker runs."""
    endpoints = (
        Endpoint("http://user:secret@127.0.0.1:9/v1", "one", models={"m": "m", "org/long-name": "x"}, api_key="sk-upstream"),
        Endpoint("http://127.0.0.1:9/v1", "two", models={"m": "m"}, provider="vllm"),
    )
    return Configuration(endpoints=endpoints, store=str(store_folder))


@pytest.fixture
def start(configuration: Configuration, redis_url: str) -> Iterator[StartServer]:
    """Starts servers, and stops them at the end of the test."""
    with ExitStack() as stack:

        def start_server(limits: Limits | None = None, url: str = redis_url, **changes: Any) -> LiveServer:
            fields = {name: getattr(configuration, name) for name in configuration.__slots__} | changes
            server = LiveServer(Configuration(**fields), url, limits).start()
            stack.callback(server.stop)
            return server

        yield start_server


@pytest.fixture
def server(start: StartServer) -> LiveServer:
    return start()


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
async def node(configuration: Configuration, redis_url: str) -> AsyncIterator[Node]:
    """Another process's view of the same Redis and store."""
    async with open_node(configuration, redis_url) as opened:
        yield opened
