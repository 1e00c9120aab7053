"""HTTP/1.x as values: a request, the bytes of a response, and what a handler may do to its connection."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple, Protocol

import orjson

__all__ = ["JSON", "Channel", "Request", "chunk", "error_body", "last_chunk", "response", "response_head"]

JSON = b"application/json"

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
last_chunk = b"0\r\n\r\n"


class Request(NamedTuple):
    method: bytes
    path: bytes  # without the query
    body: bytes  # as far as it is not too large
    keep_alive: bool
    http_1_0: bool
    number: int  # unique within the server; becomes x-request-id
    too_large: bool = False

    @property
    def connection_header(self) -> bytes:
        if not self.keep_alive:
            return b"connection: close\r\n"
        return b"connection: keep-alive\r\n" if self.http_1_0 else b""


class Channel(Protocol):
    """A handler's side of one exchange. It ends with exactly one of finish, close or reset."""

    def write(self, data: bytes) -> None: ...

    def finish(self) -> None:
        """The response is complete; the connection takes its next request."""

    def close(self) -> None: ...

    def reset(self) -> None: ...


def response(request: Request, status: int, body: bytes, content_type: bytes = JSON, headers: bytes = b"") -> bytes:
    """`headers` are further header lines, each with its line end."""
    lines = b"content-length: %d\r\n%b" % (len(body), headers)
    head = response_head(request, status, content_type, lines)
    return head if request.method == b"HEAD" else head + body


def response_head(request: Request, status: int, content_type: bytes, headers: bytes) -> bytes:
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\nx-request-id: req_%012x\r\n%b%b\r\n" % (
        status,
        _REASONS[status],
        content_type,
        request.number,
        request.connection_header,
        headers,
    )


def chunk(data: bytes) -> bytes:
    """One piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def error_body(message: str, kind: str, code: str | None = None, param: str | None = None) -> bytes:
    """OpenAI's error envelope."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})
