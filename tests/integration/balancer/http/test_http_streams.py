"""Streams, and requests that are taken back."""

import asyncio

import orjson
import pytest
from http_calls import BODY, MB, Start, answering, ask, chat, ok

from balancer.http import (
    ConnectionBroken,
    PooledClient,
    PreparedRequest,
    RequestAborted,
    read_whole,
)
from tests.raw_server import serve_raw
from tests.waiting import until


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
