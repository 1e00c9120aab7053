"""A proxy by which a program under test finds hosts that don't exist: the names that stand in the documentation."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.raw_server import serve_raw

__all__ = ["named_hosts"]


@asynccontextmanager
async def named_hosts(servers: Mapping[str, str]) -> AsyncIterator[dict[str, str]]:
    """Yield the environment of a program for which `host:port` is the server at a URL.

    Each connection carries one request: the proxy asks both sides to close it.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, _, fields = head.partition(b"\r\n")
        method, target, version = first.split(b" ")
        asked = urlsplit(target.decode())
        server = urlsplit(servers[asked.netloc])
        host = b"host: " + server.netloc.encode()  # a server on loopback answers to no other name
        there, onward = await asyncio.open_connection(server.hostname, server.port)
        path = asked.path + (f"?{asked.query}" if asked.query else "")
        kept = [
            line for line in fields.split(b"\r\n") if line and not line.lower().startswith((b"connection:", b"proxy-", b"host:"))
        ]
        onward.write(b"\r\n".join([b"%b %b %b" % (method, path.encode(), version), *kept, host, b"connection: close", b"\r\n"]))
        sending = asyncio.create_task(_copy(reader, onward))
        try:
            await _copy(there, writer)
        finally:
            sending.cancel()
            onward.close()

    async with serve_raw(serve) as url:
        proxy = url.removesuffix("/v1")
        yield {"http_proxy": proxy, "HTTP_PROXY": proxy, "no_proxy": "127.0.0.1"}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
