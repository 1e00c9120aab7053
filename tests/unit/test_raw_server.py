"""The server whose connections a test serves itself leaves none of them open."""

import asyncio
import contextlib
import socket
from urllib.parse import urlsplit

import pytest

from tests.raw_server import serve_raw

MB = 1024 * 1024


async def test_one_that_has_sent_what_was_left_and_closed_is_over() -> None:
    async def fill(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(64 * MB))

    async with serve_raw(fill) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        assert len(await reader.read()) == 64 * MB
        writer.close()


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_is_closed_at_the_end_however_far_it_has_come(turns: int) -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serve_raw(wait) as url:
        client = socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=5)
        for _ in range(turns):
            await asyncio.sleep(0)
    with client, contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b"", "it is still open"
