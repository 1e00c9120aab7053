"""Chats that begin alike are kept at one endpoint, whose prefix cache serves them."""

import asyncio
import random
from contextlib import AsyncExitStack

import httpx
import pytest
from live_server import PATIENCE_S, StartServer

from api_roadbalancer.mock import Behaviour, serve
from api_roadbalancer.mock.prefix_cache import BLOCK
from balancer.endpoint import Endpoint

DOCUMENTS, QUESTIONS, SERVERS = 32, 10, 4
BLOCKS = 8  # of each document
FITS = 16  # documents into a server's cache


@pytest.mark.parametrize(("prefix_affinity", "least", "most"), [(True, 0.8, 1.0), (False, 0.0, 0.65)])
async def test_servers_have_read_most_of_what_chats_begin_with(
    start: StartServer, prefix_affinity: bool, least: float, most: float
) -> None:
    chats = [(document, question) for document in range(DOCUMENTS) for question in range(QUESTIONS)]
    random.Random(0).shuffle(chats)
    async with AsyncExitStack() as stack:
        servers = [await serve(Behaviour(latency=0.002, cache_blocks=FITS * (BLOCKS + 1))) for _ in range(SERVERS)]
        for server in servers:
            stack.push_async_callback(server.close)
        endpoints = tuple(
            Endpoint(server.url, name=f"gpu{number}", models={"m": "m"}, max_concurrency=16)
            for number, server in enumerate(servers)
        )
        gateway = await asyncio.to_thread(start, endpoints=endpoints, prefix_affinity=prefix_affinity)
        at_once = asyncio.Semaphore(16)

        async def cached(http: httpx.AsyncClient, document: int, question: int) -> tuple[int, int]:
            system = f"document {document:04} ".ljust(BLOCKS * BLOCK, "x")
            messages = [{"role": "system", "content": system}, {"role": "user", "content": f"question {question}"}]
            async with at_once:
                response = await http.post("/v1/chat/completions", json={"model": "m", "messages": messages})
            assert response.status_code == 200, response.text
            usage = response.json()["usage"]
            return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]

        async with httpx.AsyncClient(base_url=gateway.url, timeout=PATIENCE_S) as http:
            counts = await asyncio.gather(*(cached(http, *chat) for chat in chats))
        prompts, found = map(sum, zip(*counts, strict=True))
        assert least <= found / prompts <= most
        requests = [server.simulation.tally.requests for server in servers]
        assert sum(requests) >= len(chats) and min(requests) > 0
