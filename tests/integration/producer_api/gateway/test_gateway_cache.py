"""Answers that the gateway keeps, where that is configured."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from live_server import PATIENCE_S, LiveServer, StartServer

from balancer.configuration.values import CacheSettings
from balancer.endpoint import Price
from balancer.state.redis_connection import AsyncRedis
from jobs.access import KeyStore
from jobs.access.store import KeyOrder
from tests.fake_providers import FAKE_PROVIDERS, ProviderServer

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def model() -> Iterator[ProviderServer]:
    with ProviderServer(FAKE_PROVIDERS["openai"]) as server:
        yield server


@pytest.fixture
def gateway(model: ProviderServer, start: StartServer) -> LiveServer:
    endpoint = model.endpoint(name="one", models={"m": "m"}, price=Price(1_000.0, 0.0))
    return start(endpoints=(endpoint,), cache=CacheSettings(100, 60.0), api_keys=("the-admins-secret",))


async def test_the_same_request_of_a_key_is_sent_once(gateway: LiveServer, model: ProviderServer, redis: AsyncRedis) -> None:
    secrets = [(await KeyStore(redis).create(KeyOrder(name)))[1] for name in ("one", "two")]
    async with httpx.AsyncClient(base_url=gateway.url, timeout=PATIENCE_S) as client:

        async def ask(secret: str, path: str = "/v1/chat/completions", **fields: Any) -> httpx.Response:
            headers = {"authorization": f"Bearer {secret}"}
            return (await client.post(path, json=ASKED | fields, headers=headers)).raise_for_status()

        first, again = await ask(secrets[0]), await ask(secrets[0], user="u")
        assert again.content == first.content and len(model.received) == 1
        assert "x-roadbalancer-cache" not in first.headers
        assert (again.headers["x-roadbalancer-cache"], again.headers["x-roadbalancer-attempts"]) == ("hit", "0")
        await ask(secrets[1])
        await ask(secrets[0], temperature=0.5)
        assert len(model.received) == 3, "another key, and another request"
        assert b"[DONE]" in (await ask(secrets[0], stream=True)).content
        assert len(model.received) == 4, "streams are not kept"
        turn = {"user_message": "Hi", "free_mode": True}
        answers = [await ask(secrets[0], "/api/v1/chat", **turn) for _ in range(2)]
        assert answers[0].json()["response_text"] == answers[1].json()["response_text"] and len(model.received) == 5


async def test_nothing_is_kept_unless_it_is_configured(model: ProviderServer, start: StartServer) -> None:
    gateway = start(endpoints=(model.endpoint(name="one"),))
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        for _ in range(2):
            (await client.post(f"{gateway.url}/v1/chat/completions", json=ASKED)).raise_for_status()
    assert len(model.received) == 2
