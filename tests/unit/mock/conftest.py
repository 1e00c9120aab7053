"""A simulated server on a loopback port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
from simulated_server import PATIENCE_S, Running, StartServer

from api_roadbalancer.mock import Behaviour, serve


@pytest.fixture
async def start() -> AsyncIterator[StartServer]:
    """Starts a server with the options given; it is closed at the end of the test."""
    async with AsyncExitStack() as stack:

        async def start_server(**options: object) -> Running:
            server = await serve(Behaviour().changed(options))
            stack.push_async_callback(server.close)
            base_url = f"http://127.0.0.1:{server.port}"
            client = httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=PATIENCE_S)
            return Running(server, await stack.enter_async_context(client))

        yield start_server


@pytest.fixture
async def running(start: StartServer) -> Running:
    return await start()
