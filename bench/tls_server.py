"""`python -m bench.tls_server CERTIFICATE PORT`: answers every request over TLS with the same chat, at once."""

import asyncio
import ssl
import sys

import httptools

from balancer.runtime.loop import new_event_loop

__all__: list[str] = []

ANSWER = (
    b'{"id":"c","object":"chat.completion","model":"simulated","choices":[{"index":0,"message":{"role":"assistant","content":"Hello!"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}'
)
RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)


class _Answering(asyncio.Protocol):
    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(RESPONSE)  # type: ignore[attr-defined]


async def _serve(certificate: str, port: int) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", port, ssl=tls, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    new_event_loop().run_until_complete(_serve(sys.argv[1], int(sys.argv[2])))
