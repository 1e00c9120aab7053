"""An httpx transport over pyreqwest, a Rust HTTP client.

The seam is `httpx.AsyncBaseTransport`: any other httpx transport can stand in its place, and tests put
`httpx.MockTransport` there. Measured on 2 cores, httpx's own engine costs 3 to 6 ms of CPU a request at high concurrency,
this one 0.15 ms.
"""

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
from pyreqwest import exceptions as pyreqwest
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.request import RequestBuilder, StreamRequest
from pyreqwest.response import Response

__all__ = ["MAX_ANSWER_BYTES", "AnswerTooLarge", "FastTransport", "body_at_hand", "read_whole", "timeout_message"]

MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Bytes of one answer, unpacked, where the configuration says nothing."""


class AnswerTooLarge(httpx.HTTPError):
    """An answer has more than `limit` bytes when it is unpacked; the rest was not read."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the answer is larger than {limit:,} bytes (`max_answer_bytes`)")


class FastTransport(httpx.AsyncBaseTransport):
    """Sends an httpx request with pyreqwest. The whole body goes in; the answer is read whole, up to `max_answer_bytes`.

    Request extensions: with `stream` set, the answer's body is a stream instead; `timeout` is httpx's mapping, whose `read` value
    bounds the whole request in seconds; `header_items` are the request's headers as a list, from callers that have it at hand.
    Raises httpx's ConnectTimeout, ReadTimeout, ConnectError, ReadError, RemoteProtocolError and UnsupportedProtocol, and
    AnswerTooLarge.
    """

    def __init__(self, connect_timeout: float = 5.0, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._connect_timeout = connect_timeout
        self._max_answer_bytes = max_answer_bytes
        self._client: Client | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        builder = self._builder(request)
        try:
            if request.extensions.get("stream"):
                # Unbuffered: else 64 KB are gathered before the first byte is handed on.
                return await _open_stream(builder.streamed_read_buffer_limit(0).build_streamed())
            # Streamed, since only a stream can be left when it grows too large; it costs no more.
            async with builder.build_streamed() as response:
                body = bytes(await response.body_reader.read(self._max_answer_bytes + 1) or b"")
        except pyreqwest.PyreqwestError as exc:
            raise _translate(exc, request) from exc
        if len(body) > self._max_answer_bytes:
            raise AnswerTooLarge(self._max_answer_bytes)
        # A stream that is there already: for `content`, httpx sets headers of its own, which costs 10 µs.
        return httpx.Response(response.status, headers=_headers(response), stream=httpx.ByteStream(body))

    def _builder(self, request: httpx.Request) -> RequestBuilder:
        headers = request.extensions.get("header_items") or request.headers.multi_items()
        builder = self._open_client().request(request.method, str(request.url)).headers(headers)
        if request.method != "GET":
            builder = builder.body_bytes(
                b"".join(request.stream) if isinstance(request.stream, httpx.ByteStream) else request.content
            )
        seconds = request.extensions.get("timeout", {}).get("read")
        return builder.timeout(timedelta(seconds=seconds)) if seconds else builder

    def _open_client(self) -> Client:
        if self._client is None:
            builder = ClientBuilder().connect_timeout(timedelta(seconds=self._connect_timeout))
            self._client = builder.follow_redirects(False).user_agent("roadbalancer").build()
        return self._client

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None


def body_at_hand(response: httpx.Response) -> bytes | None:
    """Return the body of an answer that is there whole, without httpx's decoders, which cost more than the rest of it; None for
    one that has to be read. There is nothing to close then."""
    return b"".join(response.stream) if isinstance(response.stream, httpx.ByteStream) else None


async def read_whole(response: httpx.Response, limit: int) -> bytes:
    """Read an answer of any transport. Raises AnswerTooLarge."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > limit:
            raise AnswerTooLarge(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def timeout_message(error: httpx.TimeoutException, timeout: float) -> str:
    """Say what took too long; `timeout` is the seconds that a whole request may take."""
    if isinstance(error, httpx.ConnectTimeout):
        return "could not connect in time"
    return f"no whole answer within {timeout:g} s"


class _Stream(httpx.AsyncByteStream):
    def __init__(self, request: StreamRequest, response: Response) -> None:
        self._request = request
        self._reader = response.body_reader

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while (chunk := await self._reader.read_chunk()) is not None:
                yield bytes(chunk)
        except pyreqwest.PyreqwestError as exc:
            raise _translate(exc, None) from exc

    async def aclose(self) -> None:
        await self._request.__aexit__(None, None, None)


async def _open_stream(request: StreamRequest) -> httpx.Response:
    response = await request.__aenter__()
    return httpx.Response(response.status, headers=_headers(response), stream=_Stream(request, response))


def _headers(response: Response) -> list[tuple[str, str]]:
    # The body has been decompressed already, and its length may differ from what the headers say.
    skipped = ("content-encoding", "content-length", "transfer-encoding")
    return [(name, value) for name, value in response.headers.items() if name not in skipped]


def _translate(error: pyreqwest.PyreqwestError, request: httpx.Request | None) -> httpx.TransportError:
    if isinstance(error, pyreqwest.ConnectTimeoutError) and not _while_connecting(error):
        return httpx.ReadTimeout(_message(error), request=request)
    for kind, translated in _TRANSLATIONS:
        if isinstance(error, kind):
            return translated(_message(error), request=request)
    return httpx.RemoteProtocolError(_message(error), request=request)


def _while_connecting(error: pyreqwest.DetailedPyreqwestError) -> bool:
    """Whether a timeout came while connecting. pyreqwest 0.15 says so of every one that comes before the answer begins."""
    return any("(Connect)" in cause["message"] for cause in (error.details or {}).get("causes") or ())


def _message(error: pyreqwest.PyreqwestError) -> str:
    """Return the innermost cause, which names what happened, without the URL."""
    causes = (error.details or {}).get("causes") if isinstance(error, pyreqwest.DetailedPyreqwestError) else None
    return causes[-1]["message"] if causes else type(error).__name__


_TRANSLATIONS: tuple[tuple[type[pyreqwest.PyreqwestError], type[httpx.TransportError]], ...] = (
    (pyreqwest.ConnectTimeoutError, httpx.ConnectTimeout),
    (pyreqwest.RequestTimeoutError, httpx.ReadTimeout),
    (pyreqwest.ConnectError, httpx.ConnectError),
    (pyreqwest.ReadError, httpx.ReadError),
    (pyreqwest.BodyDecodeError, httpx.RemoteProtocolError),
)
