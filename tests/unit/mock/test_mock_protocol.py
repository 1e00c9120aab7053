from __future__ import annotations

import asyncio

import orjson
import pytest
from simulated_server import Running, StartServer

from api_roadbalancer.mock import Behaviour, Fault, protocol
from api_roadbalancer.mock.protocol import MAX_PIPELINED, Connection
from api_roadbalancer.mock.routes import Routes
from api_roadbalancer.mock.simulation import Simulation
from tests.waiting import until


def chat_body(prompt: str) -> bytes:
    return orjson.dumps({"messages": [{"role": "user", "content": prompt}]})


def post(prompt: str = "Hi", headers: bytes = b"", version: bytes = b"1.1") -> bytes:
    body = chat_body(prompt)
    head = b"POST /v1/chat/completions HTTP/%b\r\nhost: x\r\ncontent-length: %d\r\n%b\r\n"
    return head % (version, len(body), headers) + body


async def read_response(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head in lower case, body."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, _, rest = head.partition(b"content-length: ")
    return head, await reader.readexactly(int(rest.split(b"\r\n")[0]))


async def test_a_request_may_come_byte_by_byte(running: Running) -> None:
    reader, writer = await running.connect()
    for byte in post():
        writer.write(bytes([byte]))
        await writer.drain()
    head, body = await read_response(reader)
    assert head.startswith(b"http/1.1 200 ok")
    assert b"to: Hi." in body
    writer.close()


@pytest.mark.parametrize("latency", [0.0, 0.001])
async def test_pipelined_requests_are_answered_in_order(start: StartServer, latency: float) -> None:
    running = await start(latency=latency)
    reader, writer = await running.connect()
    count = 3 * MAX_PIPELINED  # reading stops on the way, and goes on
    for number in range(count):
        writer.write(post(f"number {number}"))
    for number in range(count):
        _, body = await read_response(reader)
        assert f"to: number {number}.".encode() in body
    writer.close()
    assert running.simulation.in_flight.maximum == 1
    assert running.simulation.tally.completed == count


async def test_a_chunked_request_body_is_put_together(running: Running) -> None:
    reader, writer = await running.connect()
    writer.write(b"POST /chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    body = chat_body("in chunks")
    for start in range(0, len(body), 10):
        piece = body[start : start + 10]
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    writer.write(b"0\r\n\r\n")
    _, answer = await read_response(reader)
    assert b"to: in chunks." in answer
    writer.close()


async def test_a_client_that_asks_first_is_answered_continue(running: Running) -> None:
    reader, writer = await running.connect()
    head, _, body = post(headers=b"Expect: 100-Continue\r\n").partition(b"\r\n\r\n")
    writer.write(head + b"\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await read_response(reader))[0].startswith(b"http/1.1 200 ok")
    writer.close()


@pytest.mark.parametrize(
    ("version", "headers", "connection"),
    [
        (b"1.1", b"", b""),
        (b"1.1", b"Connection: close\r\n", b"connection: close"),
        (b"1.0", b"", b"connection: close"),
        (b"1.0", b"Connection: keep-alive\r\n", b"connection: keep-alive"),
    ],
)
async def test_the_connection_is_kept_or_closed_as_asked(
    running: Running, version: bytes, headers: bytes, connection: bytes
) -> None:
    reader, writer = await running.connect()
    writer.write(post(headers=headers, version=version))
    head, _ = await read_response(reader)
    lines = head.split(b"\r\n")
    assert [line for line in lines if line.startswith(b"connection:")] == [connection] * bool(connection)
    if connection == b"connection: close":
        assert await reader.read() == b""
    else:
        writer.write(post("again"))
        assert b"to: again." in (await read_response(reader))[1]
    writer.close()


async def test_a_stream_to_an_old_client_ends_with_the_connection(running: Running) -> None:
    reader, writer = await running.connect()
    body = orjson.dumps({"messages": [{"role": "user", "content": "Hi"}], "stream": True})
    head = b"POST /v1/chat/completions HTTP/1.0\r\nconnection: keep-alive\r\ncontent-length: %d\r\n\r\n"
    writer.write(head % len(body) + body)
    answer = await reader.read()
    assert b"transfer-encoding" not in answer
    assert answer.endswith(b"\n\ndata: [DONE]\n\n")
    writer.close()


async def test_what_is_not_http_is_refused_and_the_connection_closed(running: Running) -> None:
    reader, writer = await running.connect()
    writer.write(b"EHLO example.org\r\n\r\n")
    head, body = await read_response(reader)
    assert head.startswith(b"http/1.1 400 ")
    assert orjson.loads(body)["error"]["type"] == "invalid_request_error"
    assert await reader.read() == b""
    writer.close()


async def test_rubbish_behind_a_request_in_flight_ends_both(start: StartServer) -> None:
    running = await start(fault="hang")
    reader, writer = await running.connect()
    writer.write(post() + b"rubbish\r\n\r\n")
    assert await reader.read() == b""
    assert (running.simulation.in_flight.now, running.simulation.tally.aborted) == (0, 1)
    writer.close()


async def test_a_large_body_is_read_and_a_too_large_one_refused(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_BODY_BYTES", 3_000_000)
    assert (await running.chat("x" * 2_900_000)).json()["usage"]["prompt_tokens"] == 725_000
    refused = await running.chat("x" * 3_000_000)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "request_too_large")
    assert (await running.chat()).status_code == 200


async def test_an_offer_to_upgrade_is_passed_over(running: Running) -> None:
    reader, writer = await running.connect()
    writer.write(b"GET /health HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")
    writer.write(b"GET /models HTTP/1.1\r\n\r\n")
    assert (await read_response(reader))[1] == b"{}"
    assert b"simulated" in (await read_response(reader))[1]
    writer.close()


@pytest.mark.parametrize("target", [b"http://example.org/v1/health?x=1", b"/v1/health?x=1"])
async def test_a_target_may_be_a_whole_url(running: Running, target: bytes) -> None:
    reader, writer = await running.connect()
    writer.write(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % target)
    assert (await read_response(reader))[0].startswith(b"http/1.1 200 ok")
    writer.close()


async def test_requests_behind_one_that_is_cut_off_are_never_served(start: StartServer) -> None:
    running = await start(fault="hang")
    _, writer = await running.connect()
    writer.write(post("first") + post("second"))
    await running.until_in_flight(1)
    writer.close()
    await running.until_in_flight(0)
    await until(lambda: running.simulation.tally.aborted == 1)
    assert running.simulation.tally.requests == 1


class Recorder(asyncio.Transport):
    """The other side of a connection that is fed by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)


async def test_a_request_that_comes_between_two_answers_does_not_jump_the_queue() -> None:
    loop = asyncio.get_running_loop()
    simulation = Simulation(Behaviour(fault=Fault.HANG))
    connection = Connection(Routes(simulation, loop), simulation, loop, set())
    transport = Recorder()
    connection.connection_made(transport)
    connection.data_received(post("first") + post("second"))
    simulation.change(Behaviour())  # answers the first; the second is due in the loop's next turn
    connection.data_received(post("third"))
    await until(lambda: b"third" in transport.written)
    first, second, third = (transport.written.index(word) for word in (b"first", b"second", b"third"))
    assert first < second < third
