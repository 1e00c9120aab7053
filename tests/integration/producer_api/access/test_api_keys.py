"""Virtual keys at the door: who comes in, what only admins see, headers, refusals, and servers that others reach."""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import openai
import pytest
from fastapi import FastAPI, Request
from live_server import PATIENCE_S, StartServer, error_of

from balancer.configuration import Configuration
from balancer.errors import ConfigurationError, SharedStateUnavailable
from balancer.state.redis_connection import AsyncRedis
from jobs.access import Access, KeyStore, Limits, Refusal, Refused, key_authenticator, store
from jobs.access.exposure import Door, refuse_exposure
from jobs.access.store import KeyOrder
from producer_api.access.callers import CurrentCaller, refusal_response
from producer_api.server import make_server
from tests.waiting import until_blocking
from workers.messages import celery_wake

ADMIN_PATHS = ("/metrics", "/api/v1/system/info", "/api/v1/endpoints")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are remembered for a moment, and made without waiting for the disk."""

    async def at_once(_: AsyncRedis) -> None:
        return None

    monkeypatch.setattr(store, "make_durable", at_once)
    monkeypatch.setattr(key_authenticator, "REMEMBERED_SECONDS", 0.05)


@pytest.fixture
def keys(redis: AsyncRedis) -> KeyStore:
    return KeyStore(redis)


ClientOf = Callable[[str], httpx.Client]


@pytest.fixture
def client(start: StartServer) -> Iterator[ClientOf]:
    """Makes clients of one server, each with a secret."""
    server = start()
    with ExitStack() as stack:

        def make(secret: str) -> httpx.Client:
            headers = {"authorization": f"Bearer {secret}"} if secret else {}
            return stack.enter_context(httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=PATIENCE_S))

        yield make


async def test_the_first_key_closes_the_door_and_revocation_takes_it_away(client: ClientOf, keys: KeyStore) -> None:
    stranger = client("")
    assert stranger.get("/v1/files").status_code == 200
    record, secret = await keys.create(KeyOrder("team"))
    until_blocking(lambda: stranger.get("/v1/files").status_code == 401)
    assert client(record.id).get("/v1/files").status_code == 401
    owner = client(secret)
    assert owner.get("/v1/files").status_code == 200
    await keys.revoke("team")
    until_blocking(lambda: owner.get("/v1/files").status_code == 401)
    assert stranger.get("/v1/files").status_code == 401
    assert stranger.get("/health").status_code == 200


async def test_the_official_client_works_with_a_virtual_key(client: ClientOf, keys: KeyStore) -> None:
    _, secret = await keys.create(KeyOrder("team"))
    with openai.OpenAI(base_url=f"{client('').base_url}/v1", api_key=secret, max_retries=0) as sdk:
        assert sdk.files.list().data == []


async def test_what_tells_of_everybody_is_for_admins(client: ClientOf, keys: KeyStore) -> None:
    user, admin = client((await keys.create(KeyOrder("user")))[1]), client((await keys.create(KeyOrder("boss", admin=True)))[1])
    for path in ADMIN_PATHS:
        response = user.get(path)
        assert (response.status_code, error_of(response)["code"]) == (403, "admin_key_required")
        assert admin.get(path).status_code == 200
    assert user.get("/v1/models").status_code == 200


async def test_requests_of_every_kind_are_counted(client: ClientOf, keys: KeyStore) -> None:
    _, secret = await keys.create(KeyOrder("team", limits=Limits(http_rpm=3)))
    _, other = await keys.create(KeyOrder("other", limits=Limits(rpm=3)))
    http = client(secret)
    wrong = http.post("/v1/chat/completions", json={"model": "m"})
    assert wrong.status_code == 400
    assert [http.get(path).status_code for path in ("/v1/files", "/nowhere")] == [200, 404]
    refused = [http.get("/v1/files"), http.get("/api/v1/jobs/none/events"), http.delete("/v1/files/none")]
    assert [response.status_code for response in refused] == [429] * 3
    assert error_of(refused[0])["code"] == "rate_limit_exceeded"
    assert "this key may send 3 HTTP requests per minute; try again in " in error_of(refused[0])["message"]
    assert 1 <= int(refused[0].headers["retry-after"]) <= 20
    messages = http.post("/v1/messages", json={}).json()
    assert messages["error"]["type"] == "rate_limit_error", "in the format of the route"
    assert client("").get("/health").status_code == 200
    assert [client(other).get("/v1/files").status_code for _ in range(5)] == [200] * 5, "`rpm` counts what generates"


@pytest.mark.parametrize(
    "header",
    [
        b"Bearer " + b"x" * 30_000,
        b"Bearer \xff\xfe",
        "Bearer schlüssel".encode(),
        b"Bearer rb-\x7f",
        b"Bearer rb-a b",
        b"Bearer *",
        b"Bearer",
        b"Basic cmI6YQ==",
    ],
)
async def test_hostile_headers_are_refused(client: ClientOf, keys: KeyStore, header: bytes) -> None:
    await keys.create(KeyOrder("team"))
    response = client("").get("/v1/files", headers={b"authorization": header})
    # What is no header at all, the server refuses before us.
    assert response.status_code in (400, 401)


def test_a_server_that_others_reach_wants_a_key(configuration: Configuration, redis_url: str) -> None:
    app = make_server(
        configuration, redis_url, celery_wake(configuration, redis_url), "0.0.0.0", 0, door=Door(local=False)
    ).config.app
    assert isinstance(app, FastAPI)

    async def ask() -> int:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
                return (await http.get("/v1/files")).status_code

    assert asyncio.run(ask()) == 401


async def test_no_server_listens_beyond_this_machine_without_a_key(redis: AsyncRedis, redis_url: str, keys: KeyStore) -> None:
    nothing, keyed = Configuration(), Configuration(api_keys=("s-one",))
    for host in ("127.0.0.1", "localhost", "::1"):
        await refuse_exposure(nothing, "redis://127.0.0.1:1/0", host, insecure=False)
    for host in ("0.0.0.0", "::", "", "10.1.2.3", "gpu1"):
        with pytest.raises(ConfigurationError, match=r"--host.*roadbalancer keys create"):
            await refuse_exposure(nothing, redis_url, host, insecure=False)
        await refuse_exposure(nothing, "redis://127.0.0.1:1/0", host, insecure=True)
        await refuse_exposure(keyed, "redis://127.0.0.1:1/0", host, insecure=False)
    await keys.create(KeyOrder("team"))
    await refuse_exposure(nothing, redis_url, "0.0.0.0", insecure=False)
    with pytest.raises(SharedStateUnavailable):
        await refuse_exposure(nothing, "redis://127.0.0.1:1/0", "0.0.0.0", insecure=False)


def test_answers_are_safe_in_caches_and_browsers(client: ClientOf) -> None:
    http = client("")
    for path in ("/v1/files", "/api/v1/jobs", "/nowhere", "/health", "/openapi.json", "/v1/files/nothing/content", "/docs"):
        headers = http.get(path, headers={"origin": "https://evil.example"}).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert not [name for name in headers if name.startswith("access-control-")]
        assert "server" not in headers
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    assert http.options("/v1/files", headers=asked).status_code == 403


def test_the_documentation_loads_nothing_from_elsewhere(client: ClientOf) -> None:
    http = client("")
    page = http.get("/docs")
    assert "https://" not in page.text and "https://" not in page.headers["content-security-policy"]
    wanted = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(wanted) == 3
    for path in wanted:
        answer = http.get(path)
        assert answer.status_code == 200 and len(answer.content) > 1000, path
    assert "unsafe-inline" not in http.get("/v1/files").headers["content-security-policy"]


@pytest.mark.parametrize(
    ("kind", "status", "error_type", "code", "retry_after"),
    [
        (Refusal.MODEL, 403, "invalid_request_error", "model_not_allowed", None),
        (Refusal.REQUESTS, 429, "requests", "rate_limit_exceeded", "3"),
        (Refusal.TOKENS, 429, "tokens", "rate_limit_exceeded", "3"),
        (Refusal.PARALLEL, 429, "requests", "rate_limit_exceeded", "3"),
        (Refusal.BUDGET, 429, "insufficient_quota", "insufficient_quota", "3"),
    ],
)
def test_refusals_have_the_form_of_openais(
    kind: Refusal, status: int, error_type: str, code: str, retry_after: str | None
) -> None:
    refused = Refused(kind, "no", 2.1 if retry_after else None, {"x-ratelimit-limit-requests": "5"})
    response = refusal_response(refused)
    body = httpx.Response(response.status_code, content=bytes(response.body))
    error = error_of(body)
    assert (response.status_code, error["type"], error["code"], error["message"]) == (status, error_type, code, "no")
    assert response.headers.get("retry-after") == retry_after
    assert response.headers["x-ratelimit-limit-requests"] == "5"
    assert response.headers.get("x-should-retry") == ("false" if kind is Refusal.BUDGET else None)


async def test_the_official_client_reads_a_refusal(configuration: Configuration, redis_url: str, keys: KeyStore) -> None:
    """A route that asks for admission as the chat route does."""
    app = make_server(configuration, redis_url, celery_wake(configuration, redis_url), "127.0.0.1", 0).config.app
    assert isinstance(app, FastAPI)

    @app.post("/limited/chat/completions")
    async def limited(request: Request, caller: CurrentCaller) -> dict[str, str]:
        access: Access = request.app.state.context.access
        await access.admit(caller, "m", 0)
        return {"id": "1", "object": "chat.completion", "model": caller.name}

    _, secret = await keys.create(KeyOrder("team", limits=Limits(rpm=1)))
    async with app.router.lifespan_context(app):
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")
        async with openai.AsyncOpenAI(base_url="http://api/limited", api_key=secret, http_client=http, max_retries=0) as sdk:
            assert (await sdk.chat.completions.create(model="m", messages=[])).model == "team"
            with pytest.raises(openai.RateLimitError, match="1 requests per minute") as refused:
                await sdk.chat.completions.create(model="m", messages=[])
    headers = refused.value.response.headers
    assert 55 < int(headers["retry-after"]) <= 60
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("1", "0")
    assert headers["x-ratelimit-reset-requests"].endswith("s")
