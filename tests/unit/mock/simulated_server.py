"""A simulated server under test, with a client for it, and a way to wait for what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from api_roadbalancer.mock import MockServer
from tests.waiting import until

PATIENCE_S = 10.0

StartServer = Callable[..., Awaitable["Running"]]


class Running:
    """A server under test, with a client of its own."""

    def __init__(self, server: MockServer, client: httpx.AsyncClient) -> None:
        self.server = server
        self.client = client
        self.simulation = server.simulation

    async def chat(self, prompt: str = "Hello there", **fields: object) -> httpx.Response:
        body = {"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}
        return await self.client.post("/v1/chat/completions", json=body)

    async def stats(self) -> dict[str, Any]:
        return await self.get("stats")

    async def get(self, page: str) -> dict[str, Any]:
        response = await self.client.get(f"/mock/{page}")
        assert response.status_code == 200
        answer: dict[str, Any] = response.json()
        return answer

    async def change(self, **options: object) -> None:
        response = await self.client.post("/mock/behaviour", json=options)
        assert response.status_code == 200, response.text

    async def until_in_flight(self, count: int) -> None:
        await until(lambda: self.simulation.in_flight.now == count)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.server.port)
