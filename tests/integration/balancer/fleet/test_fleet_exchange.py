"""The fleet against a server that misbehaves on demand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from api_roadbalancer.mock import Behaviour, MockServer, serve
from api_roadbalancer.processes.ports import free_port
from balancer.endpoint import Endpoint
from balancer.fleet.fleet import Fleet
from balancer.outcome import FailureKind
from balancer.providers.openai.adapter import OpenAIAdapter
from balancer.state.health import Circuit, HealthPolicy
from balancer.state.redis_connection import AsyncRedis
from balancer.state.shared_state import state_on
from tests import fleet_calls
from tests.raw_server import serve_raw
from tests.waiting import until

Start = Callable[..., Awaitable[MockServer]]
BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
SECRET = "sk-very-secret-0123456789"


MakeFleet = Callable[..., Awaitable[Fleet]]


@pytest.fixture
async def fleet(redis: AsyncRedis) -> AsyncIterator[MakeFleet]:
    made: list[Fleet] = []

    async def make(*endpoints: Endpoint, timeout: float = 2.0, policy: HealthPolicy | None = None) -> Fleet:
        new = Fleet(endpoints, state_on(redis, f"p{len(made)}", endpoints, policy), timeout)
        made.append(await new.__aenter__())
        return new

    yield make
    for one in made:
        await one.__aexit__(None, None, None)


HI = b'{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}'


def answers(body: bytes, headers: bytes = b"") -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Return what answers every request of a connection with a body."""

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.partition(b":")[2]))
            writer.write(b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (headers, len(body), body))

    return serve_connection


async def test_an_answer_names_its_service_tier(fleet: MakeFleet) -> None:
    async with serve_raw(answers(b'{"service_tier": "flex", "choices": [%b]}' % HI)) as url:
        outcome = await fleet_calls.chat(await fleet(Endpoint(url, name="e", models={"m": "m"})), "e", BODY)
    assert (outcome.failure, outcome.tier) == (None, "flex")


@pytest.mark.parametrize(
    ("options", "kind", "status"),
    [
        ({"fault": "500"}, FailureKind.SERVER, 500),
        ({"fault": "429", "retry_after": 3}, FailureKind.RATE_LIMIT, 429),
        ({"fault": "503"}, FailureKind.OVERLOADED, 503),
        ({"fault": "html"}, FailureKind.SERVER, 502),
        ({"fault": "broken_json"}, FailureKind.INVALID_RESPONSE, 200),
        ({"fault": "truncated_json"}, FailureKind.INVALID_RESPONSE, 200),
        ({"fault": "close"}, FailureKind.CONNECTION, None),
        ({"fault": "reset_mid_body"}, FailureKind.CONNECTION, None),
        ({"fault": "hang"}, FailureKind.TIMEOUT, None),
        ({"fail_custom": ("hello",)}, FailureKind.BAD_REQUEST, 400),
        ({"models": ("other",)}, FailureKind.MODEL_NOT_FOUND, 404),
    ],
)
async def test_whatever_happens_is_an_outcome(
    start: Start, fleet: MakeFleet, options: dict[str, object], kind: FailureKind, status: int | None
) -> None:
    server = await start(**options)
    outcome = await fleet_calls.chat(await fleet(Endpoint(server.url, name="e", api_key=SECRET), timeout=0.5), "e", BODY)
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.status) == (kind, status)
    assert outcome.failure.retry_after == options.get("retry_after")
    assert SECRET not in repr(outcome)


async def test_a_good_answer_has_its_tokens(start: Start, fleet: MakeFleet) -> None:
    server = await start()
    outcome = await fleet_calls.chat(await fleet(Endpoint(server.url, name="e")), "e", BODY)
    assert outcome.failure is None
    assert outcome.usage.prompt > 0 and outcome.usage.completion > 0 and 0 < outcome.latency < 2
    assert b"\n" not in outcome.body


async def test_an_answer_that_uses_a_limit_up_rests_the_endpoint(fleet: MakeFleet) -> None:
    limit = b"x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 1.5s\r\n"
    async with serve_raw(answers(b'{"choices": [%b]}' % HI, limit)) as url:
        asked = await fleet(Endpoint(url, name="e", models={"m": "m"}))
        assert (await fleet_calls.chat(asked, "e", BODY, api_key="sk-callers-own")).used_up_for == 0.0
        assert (await fleet_calls.chat(asked, "e", BODY)).used_up_for == 1.5
        await until(lambda: asked.health["e"].limited_for > 0)
        assert asked.health["e"].circuit is Circuit.CLOSED


async def test_checks_learn_the_models_and_share_them(start: Start, fleet: MakeFleet) -> None:
    server = await start(models=("llama", "models/gemini"))
    endpoints = (Endpoint(server.url, name="asked"), Endpoint("http://h/v1", name="listed", models={"own": "x"}))
    mine, other = await fleet(*endpoints), await fleet(*endpoints)
    assert other.catalog.serving("anything") == ["asked"]  # it has not said yet
    assert (await mine.prober.check("asked")).failure is None
    await other.refresh_models()
    assert other.catalog.models() == {"llama": ["asked"], "gemini": ["asked"], "own": ["listed"]}
    assert (other.catalog.serving("llama"), other.catalog.serving("own"), other.catalog.serving("x")) == (
        ["asked"],
        ["listed"],
        [],
    )
    assert other.catalog.serving(None) == ["asked", "listed"]


async def test_a_failing_check_opens_the_circuit_and_a_passing_one_closes_it(start: Start, fleet: MakeFleet) -> None:
    port = free_port()
    mine = await fleet(Endpoint(f"http://127.0.0.1:{port}/v1", name="e"))
    assert (await mine.prober.check("e")).failure is not None
    await mine.health.refresh()
    assert mine.health["e"].circuit is Circuit.OPEN
    server = await serve(Behaviour(), port=port)
    assert (await mine.prober.check("e")).failure is None
    await mine.health.refresh()
    assert mine.health["e"].circuit is Circuit.CLOSED
    await server.close()


@pytest.mark.parametrize(
    ("body", "models"),
    [
        (b'{"data": [{"id": "a"}, {"id": "models/b"}]}', ["a", "b"]),
        (b'{"data": [{"id": 5}, "x", {}]}', []),
        (b'{"data": {}}', []),
        (b'{"data": null}', []),
        (b"[]", []),
        (b"<html>", []),
        (b"", []),
    ],
)
def test_model_lists_of_every_shape(body: bytes, models: list[str]) -> None:
    assert OpenAIAdapter().models(body) == models
