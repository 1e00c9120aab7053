"""The load's connection: what it sends, what it takes for an answer, and when."""

import asyncio
from types import SimpleNamespace

import pytest

from bench.http_connection import Answer, Connection, post

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
REQUEST = post("http://127.0.0.1:9/v1/chat", b"{}", "k")


class Wire(asyncio.Transport):
    """What a connection writes, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.written.append(data)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def connection(wire: Wire) -> Connection:
    connection = Connection()
    connection.connection_made(wire)
    return connection


async def asked(connection: Connection, wire: Wire) -> asyncio.Task[Answer]:
    """Return an answer to come, once the request has been written."""
    before = len(wire.written)
    task = asyncio.create_task(connection.ask(REQUEST))
    while len(wire.written) == before:
        await asyncio.sleep(0)
    return task


def test_a_request_says_where_it_goes_and_how_long_it_is() -> None:
    head, _, body = post("http://127.0.0.1:4000/v1/chat/completions", b'{"a":1}', "sk-1").partition(b"\r\n\r\n")
    assert body == b'{"a":1}'
    assert head.split(b"\r\n") == [
        b"POST /v1/chat/completions HTTP/1.1",
        b"host: 127.0.0.1:4000",
        b"authorization: Bearer sk-1",
        b"content-type: application/json",
        b"content-length: 7",
    ]


async def test_the_first_chunk_and_the_end_of_an_answer_have_times_of_their_own(
    connection: Connection, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter((100.0, 101.0, 105.0))  # the request, the first byte of the body, the end
    monkeypatch.setattr("bench.http_connection.time", SimpleNamespace(perf_counter=clock.__next__))
    answer = await asked(connection, wire)
    for data in (HEAD, b"3\r\nabc\r\n", b"2\r\nde\r\n", b"0\r\n\r\n"):
        connection.data_received(data)
    assert await answer == Answer(200, b"abcde", first=1.0, whole=5.0)


async def test_a_connection_is_used_again(connection: Connection, wire: Wire) -> None:
    for status in (200, 503):
        answer = await asked(connection, wire)
        connection.data_received(b"HTTP/1.1 %d X\r\ncontent-length: 2\r\n\r\nok" % status)
        assert ((await answer).status, (await answer).body) == (status, b"ok")
    assert wire.written == [REQUEST, REQUEST]


async def test_half_an_answer_is_none(connection: Connection, wire: Wire) -> None:
    answer = await asked(connection, wire)
    connection.data_received(HEAD + b"3\r\nabc\r\n")
    connection.connection_lost(None)
    with pytest.raises(ConnectionError, match="within an answer: closed by the server"):
        await answer
    with pytest.raises(ConnectionError, match="between two requests"):
        await connection.ask(REQUEST)


async def test_what_is_no_http_ends_the_connection(connection: Connection, wire: Wire) -> None:
    answer = await asked(connection, wire)
    connection.data_received(b"SSH-2.0-OpenSSH_9.6\r\n")
    with pytest.raises(ConnectionError, match="within an answer"):
        await answer
    assert wire.closed


async def test_a_refused_connection_is_reported_at_once() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(OSError, match=str(port)):
        await Connection.to(f"http://127.0.0.1:{port}/v1")
