"""The transport and the fleet against a server that misbehaves on demand."""

import asyncio
import contextlib
import gzip
import socket
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import orjson
import psutil
import pytest

from api_roadbalancer.mock import Behaviour, MockServer, serve
from balancer.endpoint import Endpoint
from balancer.fleet.fleet import Fleet
from balancer.fleet.transport import AnswerTooLarge, FastTransport, body_at_hand, read_whole
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


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts simulated servers."""
    started: list[MockServer] = []

    async def start_server(**options: object) -> MockServer:
        started.append(await serve(Behaviour().changed(options)))
        return started[-1]

    yield start_server
    for server in started:
        await server.close()


@pytest.fixture
async def transport() -> AsyncIterator[FastTransport]:
    made = FastTransport(connect_timeout=1.0)
    yield made
    await made.aclose()


def chat(url: str, timeout: float = 5.0, **extensions: object) -> httpx.Request:
    return httpx.Request("POST", f"{url}/chat/completions", json=BODY, extensions={"timeout": {"read": timeout}, **extensions})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_an_answer_arrives_whole(transport: FastTransport, start: Start) -> None:
    server = await start()
    response = await transport.handle_async_request(chat(server.url))
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/json")
    assert orjson.loads(body_at_hand(response) or b"")["object"] == "chat.completion"
    assert server.simulation.tally.completed == 1


async def test_what_is_sent_arrives_as_it_is(transport: FastTransport, start: Start) -> None:
    server = await start()
    client = httpx.AsyncClient(transport=transport)
    response = await client.get(f"{server.url}/models")
    assert "simulated" in OpenAIAdapter().models(response.content)
    assert (await client.post(f"{server.url}/nowhere", content=b"x")).status_code == 404


@pytest.mark.parametrize(
    ("fault", "error"),
    [("close", httpx.TransportError), ("reset_mid_body", httpx.TransportError), ("hang", httpx.ReadTimeout)],
)
async def test_trouble_is_httpx_trouble(
    transport: FastTransport, start: Start, fault: str, error: type[httpx.TransportError]
) -> None:
    server = await start(fault=fault)
    request = chat(server.url, timeout=0.3)
    with pytest.raises(error) as raised:
        await transport.handle_async_request(request)
    assert raised.value.request is request
    assert "hello" not in str(raised.value)


async def test_a_refused_connection_is_a_connect_error(transport: FastTransport) -> None:
    with pytest.raises(httpx.ConnectError) as refused:
        await transport.handle_async_request(chat(f"http://127.0.0.1:{free_port()}/v1"))
    assert str(refused.value)


async def test_a_connection_that_is_not_taken_in_time_is_told_from_an_answer_that_is_late(start: Start) -> None:
    transport = FastTransport(connect_timeout=0.2)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        waiting = [socket.socket() for _ in range(4)]  # they fill the queue of connections that nobody accepts
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(deaf.getsockname())
        with pytest.raises(httpx.ConnectTimeout):
            await transport.handle_async_request(chat(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"))
        for one in waiting:
            one.close()
    await transport.aclose()


async def test_an_unknown_host_is_a_connect_error(transport: FastTransport) -> None:
    with pytest.raises(httpx.ConnectError):
        await transport.handle_async_request(chat("http://no-such-host.invalid/v1"))


async def test_a_slow_drip_counts_as_one_request(transport: FastTransport, start: Start) -> None:
    server = await start(fault="slow_drip", drip_gap=0.2)
    began = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        await transport.handle_async_request(chat(server.url, timeout=0.4))
    assert time.monotonic() - began < 1.5


async def test_a_cancelled_request_is_over_with_its_timeout_at_the_latest(transport: FastTransport, start: Start) -> None:
    server = await start(fault="hang")
    task = asyncio.create_task(transport.handle_async_request(chat(server.url, timeout=0.5)))
    await until(lambda: server.simulation.in_flight.now == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: server.simulation.in_flight.now == 0, 2.0)


async def test_a_stream_comes_in_pieces(transport: FastTransport, start: Start) -> None:
    server = await start(latency_per_token=0.1)
    request = httpx.Request("POST", f"{server.url}/chat/completions", json={**BODY, "stream": True}, extensions={"stream": True})
    response = await transport.handle_async_request(request)
    assert server.simulation.in_flight.now == 1  # the first piece is there before the last is made
    pieces = [piece async for piece in response.aiter_raw()]
    await response.aclose()
    assert len(pieces) > 1 and b"".join(pieces).endswith(b"data: [DONE]\n\n")


async def test_a_stream_that_is_left_early_leaves_the_server(transport: FastTransport, start: Start) -> None:
    server = await start(latency_per_token=0.2)
    request = httpx.Request("POST", f"{server.url}/chat/completions", json={**BODY, "stream": True}, extensions={"stream": True})
    response = await transport.handle_async_request(request)
    async for _ in response.aiter_raw():
        break
    await response.aclose()
    await until(lambda: server.simulation.in_flight.now == 0)


async def test_a_stream_that_breaks_says_so(transport: FastTransport, start: Start) -> None:
    server = await start(fault="reset_mid_body", latency_per_token=0.01)
    request = httpx.Request("POST", f"{server.url}/chat/completions", json={**BODY, "stream": True}, extensions={"stream": True})
    response = await transport.handle_async_request(request)
    with pytest.raises(httpx.TransportError):
        async for _ in response.aiter_raw():
            pass
    await response.aclose()


async def test_a_stream_to_nobody_is_a_connect_error(transport: FastTransport) -> None:
    request = chat(f"http://127.0.0.1:{free_port()}/v1", stream=True)
    with pytest.raises(httpx.ConnectError):
        await transport.handle_async_request(request)


async def test_a_compressed_answer_is_unpacked(transport: FastTransport) -> None:
    packed = gzip.compress(b'{"choices": []}')

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(packed), packed))
        await writer.drain()

    async with serve_raw(answer) as url:
        response = await transport.handle_async_request(chat(url))
        assert body_at_hand(response) or b"" == b'{"choices": []}'
        assert "content-encoding" not in response.headers


async def test_a_redirect_is_not_followed(transport: FastTransport) -> None:
    """It would take the key to another host."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 307 Go\r\nlocation: http://elsewhere.invalid/\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    async with serve_raw(answer) as url:
        assert (await transport.handle_async_request(chat(url))).status_code == 307


# ---- the fleet ----

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


async def test_checks_learn_the_models_and_share_them(start: Start, fleet: MakeFleet) -> None:
    server = await start(models=("llama", "models/gemini"))
    endpoints = (Endpoint(server.url, name="asked"), Endpoint("http://h/v1", name="told", models={"own": "x"}))
    mine, other = await fleet(*endpoints), await fleet(*endpoints)
    assert other.catalog.serving("anything") == ["asked"]  # it has not said yet
    assert (await mine.check("asked")).failure is None
    await other.refresh_models()
    assert other.catalog.models() == {"llama": ["asked"], "gemini": ["asked"], "own": ["told"]}
    assert (other.catalog.serving("llama"), other.catalog.serving("own"), other.catalog.serving("x")) == (["asked"], ["told"], [])
    assert other.catalog.serving(None) == ["asked", "told"]


async def test_a_failing_check_opens_the_circuit_and_a_passing_one_closes_it(start: Start, fleet: MakeFleet) -> None:
    port = free_port()
    mine = await fleet(Endpoint(f"http://127.0.0.1:{port}/v1", name="e"))
    assert (await mine.check("e")).failure is not None
    await mine.health.refresh()
    assert mine.health["e"].circuit is Circuit.OPEN
    server = await serve(Behaviour(), port=port)
    assert (await mine.check("e")).failure is None
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


MB = 1024 * 1024


def serving(head: bytes, *pieces: bytes) -> contextlib.AbstractAsyncContextManager[str]:
    """Start a server that answers every request with the same bytes; gives its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in (b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n", *pieces):
            writer.write(piece)
            await writer.drain()

    return serve_raw(answer)


def zeros(megabytes: int) -> bytes:
    """Zeros, packed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(MB)) for _ in range(megabytes)) + packer.flush()


@pytest.mark.parametrize("shape", ["packed", "plain", "chunked"])
async def test_an_answer_beyond_the_limit_is_left_where_it_grows_too_large(shape: str) -> None:
    packed = zeros(545)
    chunk = b"100000\r\n" + bytes(MB) + b"\r\n"
    head, pieces = {
        "packed": (b"content-encoding: gzip\r\ncontent-length: %d" % len(packed), [packed]),
        "plain": (b"content-length: %d" % (545 * MB), [bytes(MB)] * 545),
        "chunked": (b"transfer-encoding: chunked", [chunk] * 545),
    }[shape]
    before = psutil.Process().memory_info().rss
    async with serving(head, *pieces) as url:
        transport = FastTransport(max_answer_bytes=4 * MB)
        with pytest.raises(AnswerTooLarge, match="max_answer_bytes"):
            await transport.handle_async_request(httpx.Request("GET", url, extensions={"timeout": {"read": 20}}))
        streamed = httpx.Request("GET", url, extensions={"timeout": {"read": 20}, "stream": True})
        response = await transport.handle_async_request(streamed)
        with pytest.raises(AnswerTooLarge):
            await read_whole(response, 4 * MB)
        await response.aclose()
        await transport.aclose()
    assert psutil.Process().memory_info().rss - before < 50 * MB


async def test_an_answer_of_just_the_limit_is_whole() -> None:
    async with serving(b"content-length: 1024", bytes(1024)) as url:
        transport = FastTransport(max_answer_bytes=1024)
        response = await transport.handle_async_request(httpx.Request("GET", url))
        assert body_at_hand(response) == bytes(1024)
        await transport.aclose()
