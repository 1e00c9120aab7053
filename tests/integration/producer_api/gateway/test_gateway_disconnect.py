"""Callers that go away before their answer: the request is taken back from its endpoint."""

import asyncio
import time
from typing import Any

import httpx
import pytest
from live_server import PATIENCE_S, StartServer

from balancer.endpoint import Endpoint, Price
from balancer.state.redis_connection import AsyncRedis
from jobs.access import KeyStore, Limits
from jobs.access.store import KeyOrder
from tests.raw_server import serve_raw
from tests.waiting import until

HI = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("path", "question"),
    [
        ("/v1/chat/completions", {"messages": HI}),
        ("/v1/chat/completions", {"messages": HI, "stream": True}),
        ("/v1/responses", {"input": "Hi"}),
        ("/v1/responses", {"input": "Hi", "stream": True}),
        ("/api/v1/chat", {"user_message": "Hi", "free_mode": True}),
    ],
    ids=["chat", "streamed chat", "response", "streamed response", "turn"],
)
async def test_a_caller_that_goes_away_takes_its_request_back_and_pays_for_the_prompt(
    start: StartServer, redis: AsyncRedis, path: str, question: dict[str, Any]
) -> None:
    heard, gone = asyncio.Event(), asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        heard.set()
        while await reader.read(65536):
            pass
        gone.set()

    async with serve_raw(never_answer) as url:
        endpoint = Endpoint(url, name="one", models={"m": "m"}, max_concurrency=1, price=Price(1000.0, 1000.0))
        gateway = await asyncio.to_thread(start, endpoints=(endpoint,), retry_count=0, api_keys=("the-admins-secret",))
        record, secret = await KeyStore(redis).create(KeyOrder("hasty", limits=Limits(budget_day=10.0, parallel=1)))
        headers = {"authorization": f"Bearer {secret}"}
        async with httpx.AsyncClient(headers=headers, timeout=PATIENCE_S) as caller:
            asking = asyncio.create_task(caller.post(gateway.url + path, json={"model": "m", **question}))
            await asyncio.wait_for(heard.wait(), PATIENCE_S)
            left_at = time.monotonic()
            asking.cancel()
            await asyncio.wait_for(gone.wait(), PATIENCE_S)
            assert time.monotonic() - left_at < 1.0
        admin = {"authorization": "Bearer the-admins-secret"}
        async with httpx.AsyncClient(headers=admin, base_url=gateway.url) as operator:

            async def nothing_in_flight() -> bool:
                (shown,) = (await operator.get("/api/v1/endpoints")).json()["data"]
                return bool(shown["in_flight"] == 0)

            await until(nothing_in_flight)
        if not question.get("stream"):
            await until(lambda: redis.keys(f"rb:spent:{record.id}:*"), what="the prompt to be paid")
