"""Embeddings and the other kinds through the gateway, as OpenAI's own client sends them."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from live_server import PATIENCE_S, LiveServer, StartServer

from api_roadbalancer.mock import Behaviour, MockServer, serve
from balancer.endpoint import Endpoint, Price
from tests.fake_providers import FAKE_PROVIDERS, ProviderServer
from tests.waiting import until_blocking

PRICE = Price(1.0, 2.0)


@pytest.fixture
def model() -> Iterator[MockServer]:
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(serve(Behaviour(models=("m",))))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server
    asyncio.run_coroutine_threadsafe(server.close(), loop).result(PATIENCE_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE_S)
    loop.close()


@pytest.fixture
def gateway(model: MockServer, start: StartServer) -> LiveServer:
    """A server whose endpoint has limits that are none of embeddings."""
    endpoint = Endpoint(model.url, "one", models={"small": "m"}, price=PRICE, max_tokens=5, temperature=0.5)
    return start(endpoints=(endpoint,), retry_count=0)


@pytest.fixture
def client(gateway: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0, timeout=PATIENCE_S) as client:
        yield client


def test_embeddings_by_an_alias_in_both_formats(client: openai.OpenAI) -> None:
    plain = client.embeddings.create(model="small", input=["Hello", "Good day"], encoding_format="float")
    packed = client.embeddings.create(model="small", input=["Hello", "Good day"])
    assert [len(each.embedding) for each in plain.data] == [8, 8] and plain.model == "m"
    assert packed.data[1].embedding == pytest.approx(plain.data[1].embedding, abs=1e-6)
    assert plain.usage.prompt_tokens == 3


def test_a_packed_embedding_goes_through_untouched(gateway: LiveServer, model: MockServer) -> None:
    body = {"model": "small", "input": "Hello", "encoding_format": "base64", "dimensions": 256}
    through = httpx.post(f"{gateway.url}/v1/embeddings", json=body, timeout=PATIENCE_S)
    straight = httpx.post(f"{model.url}/embeddings", json={**body, "model": "m"}, timeout=PATIENCE_S)
    assert through.json()["data"] == straight.json()["data"]
    assert through.headers["x-roadbalancer-endpoint"] == "one"


def test_completions_and_moderations(client: openai.OpenAI) -> None:
    completion = client.completions.create(model="small", prompt="Once upon a time there was a king")
    assert completion.choices[0].text and completion.usage is not None
    assert completion.choices[0].finish_reason == "length", "the endpoint's limit of tokens holds"
    assert not client.moderations.create(model="small", input="Hello").results[0].flagged


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("score", {"text_1": "a king", "text_2": ["a king", "no one"]}, "data"),
        ("rerank", {"query": "a king", "documents": ["no one", "a king"]}, "results"),
    ],
)
def test_scores_and_rankings(gateway: LiveServer, path: str, body: dict[str, object], answer: str) -> None:
    response = httpx.post(f"{gateway.url}/v1/{path}", json={"model": "small", **body}, timeout=PATIENCE_S)
    assert response.status_code == 200, response.text
    assert len(response.json()[answer]) == 2


def test_usage_and_cost_are_counted_as_for_chats(gateway: LiveServer, client: openai.OpenAI) -> None:
    client.embeddings.create(model="small", input="Hello, how are you today?")

    def rows() -> list[dict[str, Any]]:
        return list(httpx.get(f"{gateway.url}/api/v1/usage", params={"group_by": "model"}, timeout=PATIENCE_S).json()["data"])

    until_blocking(rows)
    (row,) = rows()
    assert (row["requests"], row["tokens"]["input"], row["tokens"]["output"]) == (1, 6, 0)
    assert row["cost"] == pytest.approx(6e-6)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("embeddings", {"model": "small"}, "input"),
        ("embeddings", {"model": "small", "input": []}, "input"),
        ("embeddings", {"model": ["small"], "input": "x"}, "model"),
        ("completions", {"model": "small", "prompt": "x", "stream": True}, "stream"),
        ("rerank", {"model": "small", "query": "x"}, "documents"),
        ("score", {"model": "small", "text_1": "x"}, "text_2"),
    ],
)
def test_what_is_missing_is_named(gateway: LiveServer, path: str, body: dict[str, object], param: str) -> None:
    response = httpx.post(f"{gateway.url}/v1/{path}", json=body, timeout=PATIENCE_S)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_an_endpoint_whose_format_has_none_is_passed_over(model: MockServer, start: StartServer) -> None:
    with ProviderServer(FAKE_PROVIDERS["anthropic"]) as claude:
        first = claude.endpoint(name="claude", models={"m": "claude"})
        both = start(endpoints=(first, Endpoint(model.url, "openai", models={"m": "m"}, priority=1)))
        body = {"model": "m", "input": "Hello"}
        response = httpx.post(f"{both.url}/v1/embeddings", json=body, timeout=PATIENCE_S)
        assert response.status_code == 200 and response.headers["x-roadbalancer-endpoint"] == "openai"
        assert claude.bodies == []
        alone = start(endpoints=(first,))
        refused = httpx.post(f"{alone.url}/v1/embeddings", json=body, timeout=PATIENCE_S)
        assert refused.status_code == 400 and "claude does not answer requests to /embeddings" in refused.text
