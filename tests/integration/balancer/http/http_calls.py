"""Requests of the HTTP client, and servers that answer with given bytes."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from api_roadbalancer.mock import MockServer
from balancer.http import (
    HttpAnswer,
    PooledClient,
    PreparedRequest,
)
from tests.raw_server import serve_raw

__all__ = ["BODY", "MB", "Start", "answering", "ask", "chat", "ok"]


Start = Callable[..., Awaitable[MockServer]]
BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
MB = 1024 * 1024


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
