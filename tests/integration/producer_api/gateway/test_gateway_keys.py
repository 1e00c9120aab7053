"""Virtual keys at the gateway: models, rates, parallel requests, budgets; usage belongs to the key."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from live_server import PATIENCE_S, LiveServer, StartServer

from api_roadbalancer.mock import Behaviour, serve
from balancer.endpoint import Endpoint, Price
from balancer.routing.model_routes import ModelRoutes
from balancer.state.redis_connection import AsyncRedis
from jobs.access import KeyStore, Limits
from jobs.access.store import KeyOrder
from tests.fake_providers import FAKE_PROVIDERS, ProviderServer, ReceivedRequest, Reply, Script
from tests.waiting import until_blocking

OPENAI = FAKE_PROVIDERS["openai"]
HI: Any = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def model() -> Iterator[ProviderServer]:
    with ProviderServer(OPENAI) as server:
        yield server


@pytest.fixture
def gateway(model: ProviderServer, start: StartServer) -> LiveServer:
    endpoint = model.endpoint(name="one", models={"m": "m", "dear": "dear"})
    routes = ModelRoutes({"smart": ("dear", "m"), "plain": ("m",)})
    return start(endpoints=(endpoint,), retry_count=0, routes=routes, api_keys=("the-admins-secret",))


ClientOf = Callable[[KeyOrder], openai.OpenAI]


@pytest.fixture
async def client(gateway: LiveServer, redis: AsyncRedis) -> AsyncIterator[Callable[[KeyOrder], Any]]:
    """Makes clients, each with a key of its own."""
    made: list[openai.OpenAI] = []

    async def make(order: KeyOrder) -> openai.OpenAI:
        _, secret = await KeyStore(redis).create(order)
        made.append(openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=secret, max_retries=0, timeout=PATIENCE_S))
        return made[-1]

    yield make
    for each in made:
        each.close()


def ask(client: openai.OpenAI, model: str = "m", **fields: Any) -> Any:
    return client.chat.completions.with_raw_response.create(model=model, messages=HI, **fields)


async def ask_in_thread(client: openai.OpenAI, model: str = "m", **fields: Any) -> Any:
    return await asyncio.to_thread(ask, client, model, **fields)


async def test_a_wrong_key_is_an_authentication_error(gateway: LiveServer) -> None:
    stranger = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="nobody", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        await ask_in_thread(stranger)


async def test_a_key_may_ask_for_its_models_alone_by_whatever_name(client: Any, model: ProviderServer) -> None:
    limited = await client(KeyOrder("limited", models=("m",)))
    assert (await ask_in_thread(limited)).parse().choices
    assert (await ask_in_thread(limited, "plain")).parse().choices, "an alias for what it may use"
    for forbidden in ("dear", "smart", "m,dear"):
        with pytest.raises(openai.PermissionDeniedError):
            await ask_in_thread(limited, forbidden)
    assert {received.model for received in model.received} == {"m"}


@pytest.mark.parametrize(
    ("order", "tier"),
    [
        (KeyOrder("models", models=("m",)), None),
        (KeyOrder("budget", limits=Limits(budget_day=5.0)), None),
        (KeyOrder("free"), "priority"),
        (KeyOrder("admin", admin=True, models=("m",)), "priority"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_a_key_with_limits_does_not_choose_where_its_requests_go(
    client: Any, model: ProviderServer, order: KeyOrder, tier: str | None
) -> None:
    other = {"api_base": "http://evil.example", "fallbacks": ["dear"], "extra_body": {"provider": {"order": ["x"]}}}
    answer = await ask_in_thread(await client(order), service_tier="priority", extra_body=other if tier is None else {})
    assert answer.parse().choices
    assert [received.service_tier for received in model.received] == [tier]
    assert not model.refused, "the fields that it does not know were not sent"


async def test_the_chain_of_a_key_that_may_use_its_name(client: Any) -> None:
    trusted = await client(KeyOrder("trusted", models=("smart",)))
    assert (await ask_in_thread(trusted, "smart")).parse().choices
    with pytest.raises(openai.PermissionDeniedError):
        await ask_in_thread(trusted, "dear")


async def test_requests_per_minute(client: Any) -> None:
    slow = await client(KeyOrder("slow", limits=Limits(rpm=2)))
    first = await ask_in_thread(slow)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    await ask_in_thread(slow)
    with pytest.raises(openai.RateLimitError) as caught:
        await ask_in_thread(slow)
    assert int(caught.value.response.headers["retry-after"]) >= 1


async def test_parallel_requests_and_their_end(client: Any, model: ProviderServer) -> None:
    answer_now = threading.Event()

    def held(received: ReceivedRequest) -> Script:
        assert answer_now.wait(PATIENCE_S)
        return Script()

    model.answer = held
    single = await client(KeyOrder("single", limits=Limits(parallel=1)))
    under_way = asyncio.create_task(ask_in_thread(single))
    deadline = time.monotonic() + PATIENCE_S
    while not model.received:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    with pytest.raises(openai.RateLimitError):
        await ask_in_thread(single)
    answer_now.set()
    await under_way
    model.answer = Script()
    stream = await asyncio.to_thread(single.chat.completions.create, model="m", messages=HI, stream=True)
    assert await asyncio.to_thread(list, stream)
    assert (await ask_in_thread(single)).parse().choices, "a stream that has ended has left"


async def test_a_budget_that_is_spent(model: ProviderServer, start: StartServer, redis: AsyncRedis) -> None:
    endpoint = model.endpoint(name="one", models={"m": "m"}, price=Price(1000.0, 0.0))
    gateway = start(endpoints=(endpoint,), retry_count=0, api_keys=("the-admins-secret",))
    _, secret = await KeyStore(redis).create(KeyOrder("poor", limits=Limits(budget_day=0.015)))
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=secret, max_retries=0, timeout=PATIENCE_S) as poor:
        await ask_in_thread(poor)  # 12 tokens, 0.012 USD
        await ask_in_thread(poor)
        with pytest.raises(openai.RateLimitError) as caught:
            await ask_in_thread(poor)
    assert caught.value.code == "insufficient_quota"


async def test_requests_at_once_overrun_a_budget_by_one_request_at_most(
    model: ProviderServer, start: StartServer, redis: AsyncRedis
) -> None:
    both = threading.Barrier(2)

    def together(_: ReceivedRequest) -> Script:
        both.wait(PATIENCE_S)  # the two that the budget has room for are under way at once
        return Script()

    model.answer = together
    endpoint = model.endpoint(name="one", models={"m": "m"}, price=Price(1000.0, 0.0))
    gateway = start(endpoints=(endpoint,), retry_count=0, api_keys=("the-admins-secret",))
    record, secret = await KeyStore(redis).create(KeyOrder("poor", limits=Limits(budget_day=0.02)))
    headers = {"authorization": f"Bearer {secret}"}
    # Each is expected to cost 9 thousandths of a dollar, and costs 12.
    asked = {"model": "m", "messages": [{"role": "user", "content": "Hi, Hi, Hi, Hi, Hi"}], "max_tokens": 5}
    async with httpx.AsyncClient(timeout=PATIENCE_S, headers=headers) as caller:
        answers = await asyncio.gather(*(caller.post(f"{gateway.url}/v1/chat/completions", json=asked) for _ in range(64)))
        assert sorted(Counter(answer.status_code for answer in answers).items()) == [(200, 2), (429, 62)]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["retry-after"] == "1" and "reserved" in refused.json()["error"]["message"]
        spent = (await caller.post(f"{gateway.url}/v1/chat/completions", json=asked)).json()["error"]
    assert len(model.received) == 2 and spent["code"] == "insufficient_quota"
    assert await redis.hget(f"rb:reserved:{record.id}", "total") == b"0"


async def test_usage_is_counted_for_the_key_and_shown_to_it_alone(client: Any, gateway: LiveServer) -> None:
    mine, other = await client(KeyOrder("mine")), await client(KeyOrder("other"))
    await ask_in_thread(mine)
    stream = await asyncio.to_thread(mine.chat.completions.create, model="m", messages=HI, stream=True)
    assert await asyncio.to_thread(list, stream)
    await ask_in_thread(other)

    def requests(secret: str) -> list[int]:
        answer = httpx.get(
            f"{gateway.url}/api/v1/usage?by=key", headers={"authorization": f"Bearer {secret}"}, timeout=PATIENCE_S
        )
        return sorted(row["requests"] for row in answer.json()["data"])

    await asyncio.to_thread(until_blocking, lambda: requests("the-admins-secret") == [1, 2])
    assert requests(mine.api_key) == [2]
    assert requests(other.api_key) == [1]


async def test_a_caller_that_wants_to_see_no_tokens_pays_for_them_all_the_same(client: Any, gateway: LiveServer) -> None:
    sly = await client(KeyOrder("sly"))
    hidden = {"include_usage": False}
    stream = await asyncio.to_thread(sly.chat.completions.create, model="m", messages=HI, stream=True, stream_options=hidden)
    assert all(chunk.choices for chunk in await asyncio.to_thread(list, stream))

    def tokens() -> int:
        answer = httpx.get(
            f"{gateway.url}/api/v1/usage", headers={"authorization": f"Bearer {sly.api_key}"}, timeout=PATIENCE_S
        ).json()
        return answer["total"]["tokens"]["total"]  # type: ignore[no-any-return]

    await asyncio.to_thread(until_blocking, lambda: tokens() == 19)


async def test_files_of_another_key_are_not_there(gateway: LiveServer, client: Any) -> None:
    mine, other = await client(KeyOrder("mine")), await client(KeyOrder("other"))
    line = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user"}]}}\n'
    file = await asyncio.to_thread(mine.files.create, file=("in.jsonl", line), purpose="batch")
    with pytest.raises(openai.NotFoundError):
        await asyncio.to_thread(other.files.retrieve, file.id)
    with pytest.raises(openai.BadRequestError, match="there is no file"):
        await asyncio.to_thread(
            other.batches.create, input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )


async def test_a_file_that_is_in_use_is_a_conflict(gateway: LiveServer, client: Any) -> None:
    mine = await client(KeyOrder("mine"))
    line = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user"}]}}\n'
    file = await asyncio.to_thread(mine.files.create, file=("in.jsonl", line), purpose="batch")
    await asyncio.to_thread(mine.batches.create, input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    with pytest.raises(openai.ConflictError):
        await asyncio.to_thread(mine.files.delete, file.id)


@pytest.mark.parametrize(
    ("path", "question"),
    [("/v1/chat/completions", {"messages": HI}), ("/v1/responses", {"input": "Hi"})],
    ids=["chat", "responses"],
)
async def test_a_stream_that_is_left_early_is_paid_for(
    start: StartServer, redis: AsyncRedis, path: str, question: dict[str, Any]
) -> None:
    class Endless(type(OPENAI)):  # type: ignore[misc]
        def stream(self, script: Script, received: ReceivedRequest) -> Iterator[bytes]:
            first, second, *_ = super().stream(script, received)
            yield first
            while True:
                yield second

    with ProviderServer(Endless()) as endless:
        endpoint = endless.endpoint(name="one", models={"m": "m"}, price=Price(1000.0, 1000.0))
        gateway = start(endpoints=(endpoint,), retry_count=0, api_keys=("the-admins-secret",))
        record, secret = await KeyStore(redis).create(KeyOrder("hasty", limits=Limits(budget_day=0.001, parallel=1)))
        asked = {"model": "m", "stream": True, **question}
        headers = {"authorization": f"Bearer {secret}"}

        def leave_early() -> int:
            with httpx.stream("POST", gateway.url + path, json=asked, headers=headers, timeout=PATIENCE_S) as answer:
                next(answer.iter_bytes())
                return answer.status_code

        assert await asyncio.to_thread(leave_early) == 200
        deadline = time.monotonic() + PATIENCE_S
        while not await redis.keys(f"rb:spent:{record.id}:*"):
            assert time.monotonic() < deadline, "nothing was spent"
            await asyncio.sleep(0.01)
        answer = await asyncio.to_thread(httpx.post, gateway.url + path, json=asked, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")


async def test_a_request_that_no_endpoint_could_serve_is_counted_out(gateway: LiveServer, redis: AsyncRedis) -> None:
    """No endpoint takes callers' own keys here."""
    _, secret = await KeyStore(redis).create(KeyOrder("single", limits=Limits(parallel=1)))
    asked = {"user_message": "Hi", "model": "m"}

    def turn(**fields: Any) -> int:
        headers = {"authorization": f"Bearer {secret}"}
        return httpx.post(f"{gateway.url}/api/v1/chat", json=asked | fields, headers=headers, timeout=PATIENCE_S).status_code

    assert await asyncio.to_thread(turn, openai_api_key="sk-a-callers-own-key-0123456789") == 503
    assert await asyncio.to_thread(turn, free_mode=True) == 200


BROKEN_ANTHROPIC = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","model":"m","usage":{"input_tokens":100000,'
    b'"output_tokens":1}}}\n\nevent: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"text_delta","text":"abcdefgh"}}\n\n'
)
"""A stream that is cut off after the first words."""
UNCOUNTED = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"abcdefgh"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
"""A stream without counts, as some servers send."""


@pytest.mark.parametrize(
    ("fake", "stream", "usage"),
    [(FAKE_PROVIDERS["anthropic"], BROKEN_ANTHROPIC, (100_000, 2)), (OPENAI, UNCOUNTED, (101_031, 2))],
    ids=["broken", "uncounted"],
)
async def test_the_account_and_the_key_agree_on_streams_that_are_not_counted(
    start: StartServer, redis: AsyncRedis, fake: Any, stream: bytes, usage: tuple[int, int]
) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4000}}
    content = [{"type": "text", "text": "word " * 100_000}, picture]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    with ProviderServer(fake, Reply(200, stream, {"content-type": "text/event-stream"})) as server:
        endpoint = server.endpoint(name="one", models={"m": "m"}, price=Price(3.0, 15.0))
        gateway = start(endpoints=(endpoint,), retry_count=0, api_keys=("the-admins-secret-key",))
        record, secret = await KeyStore(redis).create(KeyOrder("whose", limits=Limits(budget_day=1000.0)))
        asked = {"model": "m", "stream": True, "messages": [{"role": "user", "content": content}], "tools": tools}
        headers = {"authorization": f"Bearer {secret}"}
        await asyncio.to_thread(httpx.post, f"{gateway.url}/v1/chat/completions", json=asked, headers=headers, timeout=PATIENCE_S)
        found: Any = None

        def account() -> bool:
            nonlocal found
            admin = {"authorization": "Bearer the-admins-secret-key"}
            found = httpx.get(f"{gateway.url}/api/v1/usage", params={"key": record.id}, headers=admin, timeout=PATIENCE_S).json()[
                "total"
            ]
            return bool(found["requests"])

        await asyncio.to_thread(until_blocking, account)
    assert (found["tokens"]["output"], found["guessed_requests"]) == (usage[1], 1)
    assert found["tokens"]["input"] == pytest.approx(usage[0], abs=20)
    nano = 3000 * found["tokens"]["input"] + 15000 * found["tokens"]["output"]
    assert found["cost"] == pytest.approx(nano / 1e9, abs=1e-9)
    deadline = time.monotonic() + PATIENCE_S
    while len(counters := await redis.keys(f"rb:spent:{record.id}:*")) < 2:
        assert time.monotonic() < deadline, "nothing was spent"
        await asyncio.sleep(0.01)
    assert [int(await redis.get(name)) for name in counters] == [nano, nano], "by day and by month"


@pytest.mark.parametrize("ending", ["revoked", "expired"])
async def test_a_stream_ends_with_its_key(start: StartServer, redis: AsyncRedis, ending: str) -> None:
    model = await serve(Behaviour(latency_per_token=0.05, answer_bytes=20_000))
    server = await asyncio.to_thread(start, endpoints=(Endpoint(model.url, name="one", models={"m": "m"}),))
    store = KeyStore(redis)
    _, secret = await store.create(KeyOrder("team", lifetime=3.0 if ending == "expired" else None))
    _, other = await store.create(KeyOrder("others"))
    body = {"model": "m", "messages": HI, "stream": True}

    async def read(secret: str, revokes: bool = False) -> int:
        """Return how many pieces came before the stream was cut off."""
        pieces = 0
        headers = {"authorization": f"Bearer {secret}"}
        async with (
            httpx.AsyncClient(base_url=server.url, headers=headers, trust_env=False, timeout=PATIENCE_S) as http,
            http.stream("POST", "/v1/chat/completions", json=body) as answer,
        ):
            assert answer.status_code == 200
            with pytest.raises(httpx.RemoteProtocolError):
                async for _ in answer.aiter_bytes():
                    pieces += 1
                    if pieces == 10 and revokes:
                        await store.revoke("team")
        return pieces

    going_on = asyncio.create_task(read(other))
    assert 10 <= await read(secret, revokes=ending == "revoked") < 400
    await asyncio.to_thread(until_blocking, lambda: model.simulation.in_flight.now == 1)
    assert not going_on.done(), "streams of other keys go on"
    going_on.cancel()
    await asyncio.gather(going_on, return_exceptions=True)
    await model.close()
