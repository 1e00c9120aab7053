"""What the HTTP client says of answers and servers that are broken."""

import asyncio
import gzip
import socket
import time
import zlib

import psutil
import pytest
from http_calls import MB, Start, answering, ask, chat, ok

from api_roadbalancer.processes.ports import free_port
from balancer.http import (
    AnswerTooLarge,
    ConnectFailed,
    ConnectionBroken,
    ConnectTimeout,
    HttpError,
    PooledClient,
    ProtocolError,
    RequestTimeout,
    read_whole,
)
from balancer.http.connection import MAX_HEAD_BYTES, Connection
from tests.raw_server import serve_raw


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
    match shape:
        case "packed":
            pieces = [zeros(545)]
            head = b"content-encoding: gzip\r\ncontent-length: %d" % len(pieces[0])
        case "plain":
            pieces = [bytes(MB)] * 545
            head = b"content-length: %d" % (545 * MB)
        case _:
            pieces = [b"100000\r\n" + bytes(MB) + b"\r\n"] * 545
            head = b"transfer-encoding: chunked"

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


async def test_a_connection_that_was_being_opened_when_the_client_was_closed_is_not_kept() -> None:
    client = PooledClient()
    async with answering(ok(b"1")) as url:
        asked = asyncio.create_task(ask(client, url))
        await asyncio.sleep(0)
        await client.aclose()
        assert (await asked).body == b"1"
    assert not any(client._idle.values())


async def test_an_unknown_host_says_so(client: PooledClient) -> None:
    with pytest.raises(ConnectFailed, match="name can't be found"):
        await ask(client, "http://no-such-host.invalid/v1")


async def test_a_connection_that_is_not_accepted_in_time_differs_from_a_late_answer() -> None:
    client = PooledClient(connect_timeout=0.2)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        waiting = [socket.socket() for _ in range(4)]  # they fill the queue of connections to accept
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
