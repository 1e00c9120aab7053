"""Requests and their answers over connections that are used again."""

import asyncio
import gzip
import zlib

import orjson
import pytest
from http_calls import Start, answering, ask, chat, ok

from balancer.http import (
    PooledClient,
    PreparedRequest,
    ProtocolError,
)
from balancer.http.connection import Connection
from tests.raw_server import serve_raw
from tests.waiting import until


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
async def test_unrequested_bytes_are_never_taken_for_the_next_answer(client: PooledClient, extra: bytes) -> None:
    async with answering(ok(b"1") + extra, ok(b"2")) as url:
        assert (await ask(client, url)).body == b"1"
        assert (await ask(client, url)).body == b"1"


async def test_an_interim_answer_is_passed_over(client: PooledClient) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    async with answering(interim + ok(b"1"), ok(b"2")) as url:
        assert [(await ask(client, url)).body for _ in range(2)] == [b"1", b"2"]


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
