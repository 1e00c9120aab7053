"""The HTTP client against servers that behave, and servers that don't."""

import asyncio
import contextlib
import gzip
import socket
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
import psutil
import pytest

from api_roadbalancer.embedded import free_port
from api_roadbalancer.mock import MockServer
from balancer.http import (
    AnswerTooLarge,
    ConnectFailed,
    ConnectionBroken,
    ConnectTimeout,
    HttpAnswer,
    HttpError,
    PooledClient,
    PreparedRequest,
    ProtocolError,
    RequestAborted,
    RequestTimeout,
    read_whole,
)
from balancer.http.connection import MAX_HEAD_BYTES, Connection
from tests.raw_server import serve_raw
from tests.waiting import until

Start = Callable[..., Awaitable[MockServer]]
BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
MB = 1024 * 1024


@pytest.fixture
async def client() -> AsyncIterator[PooledClient]:
    made = PooledClient(connect_timeout=1.0, max_answer_bytes=4 * MB)
    yield made
    await made.aclose()


def chat(url: str, group: str = "gpu1", **headers: str) -> PreparedRequest:
    return PreparedRequest("POST", f"{url}/chat/completions", {"content-type": "application/json", **headers}, group)


async def ask(client: PooledClient, url: str, timeout: float = 5.0, **fields: Any) -> HttpAnswer:
    return await client.send(chat(url), orjson.dumps({**BODY, **fields}), timeout)


def answering(*answers: bytes, close: bool = False) -> contextlib.AbstractAsyncContextManager[str]:
    """Start a server that gives each connection these answers, one a request; gives its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for each in answers:
            head = await reader.readuntil(b"\r\n\r\n")
            sizes = [line for line in head.split(b"\r\n") if line.startswith(b"content-length")]
            await reader.readexactly(int(sizes[0].partition(b":")[2]) if sizes else 0)
            writer.write(each)
            await writer.drain()
        if not close:
            await reader.read()

    return serve_raw(answer)


def ok(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *headers, b"content-length: %d" % len(body), b"", body])


async def test_an_answer_arrives_whole(client: PooledClient, start: Start) -> None:
    server = await start()
    answer = await ask(client, server.url)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert orjson.loads(answer.body)["object"] == "chat.completion"
    assert server.simulation.tally.completed == 1


async def test_a_request_goes_over_the_wire_as_the_standard_says(client: PooledClient) -> None:
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head + await reader.readexactly(5))
        writer.write(ok(b"{}"))

    async with serve_raw(answer) as url:
        address = PreparedRequest("POST", f"{url}/models/a b/ü:go?x=1", {"X-Key": "grün"})
        await client.send(address, b"hello", 5.0)
    first, *lines = seen[0].decode().split("\r\n")
    assert first == "POST /v1/models/a%20b/%C3%BC:go?x=1 HTTP/1.1"
    assert lines[0] == f"host: {url.removeprefix('http://').removesuffix('/v1')}"
    assert "x-key: grün" in lines and lines[-3:] == ["content-length: 5", "", "hello"]


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "a\0b"])
def test_a_header_can_not_break_out_of_its_line(value: str) -> None:
    with pytest.raises(ProtocolError, match="'authorization' holds a line break"):
        chat("http://gpu1:8000/v1", authorization=value)


@pytest.mark.parametrize("url", ["ftp://gpu1/v1", "gpu1:8000/v1", "http:///v1"])
def test_an_address_is_http_or_https(url: str) -> None:
    with pytest.raises(ProtocolError, match="neither http:// nor https://"):
        chat(url)


def test_a_user_in_the_address_is_the_authorization_unless_there_is_one() -> None:
    user = PreparedRequest("POST", "http://me:p%40ss@gpu1/v1", {})
    assert (user.headers["authorization"], user.host) == ("Basic bWU6cEBzcw==", "gpu1")
    assert PreparedRequest("POST", "http://me:pass@gpu1/v1", {"Authorization": "Bearer k"}).headers["authorization"] == "Bearer k"


def test_names_in_any_script_are_said_in_ascii() -> None:
    request = PreparedRequest("POST", "http://bücher.example/v1", {})
    assert (request.origin.host, request.host) == ("xn--bcher-kva.example", "xn--bcher-kva.example")


# ---- connections are used again ----


async def test_a_connection_serves_one_request_after_the_other(client: PooledClient) -> None:
    async with answering(ok(b"1"), ok(b"2"), ok(b"3")) as url:
        assert [(await ask(client, url)).body for _ in range(3)] == [b"1", b"2", b"3"]


async def test_an_answer_that_closes_its_connection_is_followed_by_a_new_one(client: PooledClient) -> None:
    async with answering(ok(b"1", b"connection: close"), close=True) as url:
        assert [(await ask(client, url)).body for _ in range(3)] == [b"1"] * 3


async def test_a_connection_that_was_closed_while_idle_is_not_used(client: PooledClient) -> None:
    async with answering(ok(b"1"), close=True) as url:
        assert (await ask(client, url)).body == b"1"
        await until(lambda: not any(one.is_open for idle in client._idle.values() for one in idle))
        assert (await ask(client, url)).body == b"1"


@pytest.mark.parametrize(
    "extra",
    [ok(b"nobody asked"), b"HTTP/1.1 408 Request Timeout\r\n\r\n", b"\x16\x03\x01"],
    ids=["an answer", "a timeout", "no HTTP"],
)
async def test_what_nobody_asked_for_is_never_taken_for_the_next_answer(client: PooledClient, extra: bytes) -> None:
    async with answering(ok(b"1") + extra, ok(b"2")) as url:
        assert (await ask(client, url)).body == b"1"
        assert (await ask(client, url)).body == b"1"


async def test_an_interim_answer_is_passed_over(client: PooledClient) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    async with answering(interim + ok(b"1"), ok(b"2")) as url:
        assert [(await ask(client, url)).body for _ in range(2)] == [b"1", b"2"]


# ---- bodies ----


async def test_a_body_without_a_length_ends_with_its_connection(client: PooledClient) -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n\r\nto the end", close=True) as url:
        assert (await ask(client, url)).body == b"to the end"


async def test_a_chunked_body_is_put_together(client: PooledClient) -> None:
    chunks = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\ntrailer: x\r\n\r\n"
    async with answering(chunks, ok(b"2")) as url:
        assert [(await ask(client, url)).body for _ in range(2)] == [b"abcde", b"2"]


@pytest.mark.parametrize(
    ("packed", "encoding"),
    [
        (gzip.compress(b'{"a": 1}'), b"gzip"),
        (gzip.compress(b'{"a"') + gzip.compress(b": 1}"), b"gzip"),
        (zlib.compress(b'{"a": 1}'), b"deflate"),
        (zlib.compress(b'{"a": 1}')[2:-4], b"deflate"),
        (b'{"a": 1}', b"identity"),
    ],
    ids=["gzip", "two members", "deflate", "deflate without zlib's frame", "identity"],
)
async def test_a_compressed_answer_is_unpacked(client: PooledClient, packed: bytes, encoding: bytes) -> None:
    async with answering(ok(packed, b"Content-Encoding: " + encoding)) as url:
        answer = await ask(client, url)
    assert answer.body == b'{"a": 1}'
    assert encoding == b"identity" or "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (ok(b"not gzip", b"content-encoding: gzip"), ProtocolError),
        (ok(gzip.compress(bytes(99))[:-9], b"content-encoding: gzip"), ConnectionBroken),
        (ok(b"", b"content-encoding: br"), ProtocolError),
        (b"hello", ProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", ProtocolError),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", HttpError),
        (b"HTTP/1.1 200 OK\r\nx: " + bytes(MAX_HEAD_BYTES), ProtocolError),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 2 * MAX_HEAD_BYTES, ProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", ConnectionBroken),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", ConnectionBroken),
        (b"HTTP/1.1 200 OK\r\nx: y", ConnectionBroken),
        (b"", ConnectionBroken),
    ],
    ids=[
        "not packed",
        "packed and cut off",
        "packed in an unknown way",
        "not HTTP",
        "two lengths",
        "an upgrade",
        "a header with a null byte",
        "a header without end",
        "shorter than announced",
        "a chunk too few",
        "half a head",
        "nothing",
    ],
)
async def test_an_answer_that_is_none_is_an_error(client: PooledClient, answer: bytes, error: type[HttpError]) -> None:
    async with answering(answer, close=True) as url:
        with pytest.raises(error) as whole:
            await ask(client, url)
        with pytest.raises(error):
            async with client.stream(chat(url), b"{}", 5.0) as stream:
                await read_whole(stream, MB)
    assert "hello" not in str(whole.value) and str(whole.value)


async def test_a_redirect_is_not_followed(client: PooledClient) -> None:
    """It would take the key to another host."""
    redirect = b"HTTP/1.1 307 Go\r\nlocation: http://elsewhere.invalid/\r\ncontent-length: 0\r\n\r\n"
    async with answering(redirect) as url:
        assert (await ask(client, url)).status == 307


def zeros(megabytes: int) -> bytes:
    """Zeros, packed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(MB)) for _ in range(megabytes)) + packer.flush()


@pytest.mark.parametrize("shape", ["packed", "plain", "chunked"])
async def test_an_answer_beyond_the_limit_is_left_where_it_grows_too_large(client: PooledClient, shape: str) -> None:
    packed = zeros(545)
    chunk = b"100000\r\n" + bytes(MB) + b"\r\n"
    head, pieces = {
        "packed": (b"content-encoding: gzip\r\ncontent-length: %d" % len(packed), [packed]),
        "plain": (b"content-length: %d" % (545 * MB), [bytes(MB)] * 545),
        "chunked": (b"transfer-encoding: chunked", [chunk] * 545),
    }[shape]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in (b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n", *pieces):
            writer.write(piece)
            await writer.drain()

    before = psutil.Process().memory_info().rss
    async with serve_raw(answer) as url:
        with pytest.raises(AnswerTooLarge, match="max_answer_bytes"):
            await ask(client, url, 20)
        async with client.stream(chat(url), b"{}", 20) as stream:
            with pytest.raises(AnswerTooLarge):
                await read_whole(stream, 4 * MB)
    assert psutil.Process().memory_info().rss - before < 50 * MB


async def test_an_answer_of_just_the_limit_is_whole() -> None:
    client = PooledClient(max_answer_bytes=1024)
    async with answering(ok(bytes(1024))) as url:
        assert (await ask(client, url)).body == bytes(1024)
    await client.aclose()


async def test_an_answer_in_many_pieces_is_read_in_gulps(client: PooledClient, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    received = Connection.data_received

    def counted(connection: Connection, data: bytes) -> None:
        nonlocal reads
        reads += 1
        received(connection, data)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
            for _ in range(100):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.005)  # the pace of a model, not a way to wait for something

    monkeypatch.setattr(Connection, "data_received", counted)
    async with serve_raw(answer) as url:
        for _ in range(2):
            answered = await client.send(chat(url), b"{}", 20.0, in_gulps=True)
            assert answered.body == b"x" * 100
        assert reads < 20
        assert (await client.send(chat(url), b"{}", 20.0)).body == b"x" * 100
        assert reads > 40


# ---- trouble ----


@pytest.mark.parametrize(
    ("fault", "error"), [("close", ConnectionBroken), ("reset_mid_body", ConnectionBroken), ("hang", RequestTimeout)]
)
async def test_trouble_has_its_error(client: PooledClient, start: Start, fault: str, error: type[HttpError]) -> None:
    server = await start(fault=fault)
    with pytest.raises(error) as raised:
        await ask(client, server.url, 0.3)
    assert "hello" not in str(raised.value) and str(server.port) not in str(raised.value)


async def test_a_refused_connection_says_so(client: PooledClient) -> None:
    with pytest.raises(ConnectFailed, match="connection refused"):
        await ask(client, f"http://127.0.0.1:{free_port()}/v1")
    with pytest.raises(ConnectFailed):
        async with client.stream(chat(f"http://127.0.0.1:{free_port()}/v1"), b"{}", 5.0):
            pass


async def test_an_unknown_host_says_so(client: PooledClient) -> None:
    with pytest.raises(ConnectFailed, match="name can't be found"):
        await ask(client, "http://no-such-host.invalid/v1")


async def test_a_connection_that_is_not_taken_in_time_is_told_from_an_answer_that_is_late() -> None:
    client = PooledClient(connect_timeout=0.2)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        waiting = [socket.socket() for _ in range(4)]  # they fill the queue of connections that nobody accepts
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(deaf.getsockname())
        with pytest.raises(ConnectTimeout):
            await ask(client, f"http://127.0.0.1:{deaf.getsockname()[1]}/v1")
        for one in waiting:
            one.close()
    await client.aclose()


async def test_a_slow_drip_counts_as_one_request(client: PooledClient, start: Start) -> None:
    server = await start(fault="slow_drip", drip_gap=0.2)
    began = time.monotonic()
    with pytest.raises(RequestTimeout, match=r"no whole answer within 0\.4 s"):
        await ask(client, server.url, 0.4)
    assert time.monotonic() - began < 1.5


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the kernel has no such option")
async def test_the_kernel_watches_for_hosts_that_vanish(client: PooledClient) -> None:
    async with answering(ok(b"1")) as url:
        await ask(client, url)
        ((connection,),) = client._idle.values()
        assert isinstance(connection, Connection) and connection._transport
        opened = connection._transport.get_extra_info("socket")
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000


# ---- requests that are taken back ----


async def test_a_cancelled_request_is_gone_from_the_server_at_once(client: PooledClient, start: Start) -> None:
    server = await start(fault="hang")
    tasks = [asyncio.create_task(ask(client, server.url, 60.0)) for _ in range(20)]
    await until(lambda: server.simulation.in_flight.now == 20)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    await until(lambda: server.simulation.in_flight.now == 0, 1.0)


async def test_all_requests_of_a_group_are_taken_back_and_no_others(client: PooledClient, start: Start) -> None:
    server = await start(fault="hang")
    groups = ["gpu1"] * 3 + ["gpu2"]
    tasks = [asyncio.create_task(client.send(chat(server.url, group), orjson.dumps(BODY), 60.0)) for group in groups]
    stream = asyncio.create_task(open_stream(client, chat(server.url, "gpu1")))
    await until(lambda: server.simulation.in_flight.now == 5)
    assert client.abort("gpu1", "the endpoint does not answer") == 4
    for task in (*tasks[:3], stream):
        with pytest.raises(RequestAborted, match="the endpoint does not answer"):
            await task
    await until(lambda: server.simulation.in_flight.now == 1, 1.0)
    tasks[3].cancel()
    await asyncio.wait(tasks)


async def open_stream(client: PooledClient, request: PreparedRequest) -> None:
    async with client.stream(request, orjson.dumps(BODY), 60.0) as stream:
        await read_whole(stream, MB)


# ---- streams ----


async def test_a_stream_comes_in_pieces(client: PooledClient, start: Start) -> None:
    server = await start(latency_per_token=0.1)
    async with client.stream(chat(server.url), orjson.dumps({**BODY, "stream": True}), 5.0) as stream:
        assert server.simulation.in_flight.now == 1  # the first piece is there before the last is made
        pieces = [piece async for piece in stream]
    assert len(pieces) > 1 and b"".join(pieces).endswith(b"data: [DONE]\n\n")


async def test_a_stream_that_is_left_early_leaves_the_server(client: PooledClient, start: Start) -> None:
    server = await start(latency_per_token=0.2)
    async with client.stream(chat(server.url), orjson.dumps({**BODY, "stream": True}), 5.0) as stream:
        await anext(stream)
    await until(lambda: server.simulation.in_flight.now == 0)


async def test_a_stream_that_breaks_says_so(client: PooledClient, start: Start) -> None:
    server = await start(fault="reset_mid_body", latency_per_token=0.01)
    with pytest.raises(ConnectionBroken, match="within the answer"):
        async with client.stream(chat(server.url), orjson.dumps({**BODY, "stream": True}), 5.0) as stream:
            await read_whole(stream, MB)


async def test_a_connection_is_used_again_after_a_stream_that_was_read_to_its_end(client: PooledClient) -> None:
    async with answering(ok(b"1"), ok(b"2")) as url:
        async with client.stream(chat(url), b"{}", 5.0) as stream:
            assert await read_whole(stream, MB) == b"1"
        assert (await ask(client, url)).body == b"2"


async def test_a_reader_that_is_slow_slows_the_server_down(client: PooledClient) -> None:
    sent = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 * MB))
        for _ in range(64):
            writer.write(bytes(MB))
            await writer.drain()
            sent += 1

    async with serve_raw(answer) as url, client.stream(chat(url), b"{}", 20.0) as stream:
        size = len(await anext(stream))
        assert sent < 32  # what the sockets' buffers hold, and a little
        async for piece in stream:
            size += len(piece)
        assert size == 64 * MB
