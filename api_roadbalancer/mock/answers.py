"""What will be sent for one chat request, decided as a value: the right answer, or an error."""

from __future__ import annotations

import math
from enum import Enum
from typing import NamedTuple

from api_roadbalancer.mock.completions import CHAT, ChatRequest, completion, stream_events
from api_roadbalancer.mock.kinds import body_of
from api_roadbalancer.mock.wire import Request, chunk, error_body, last_chunk, response, response_head

__all__ = ["Answer", "Ending", "error", "overloaded", "rate_limited", "right_answer", "stream_answer"]

EVENT_STREAM = b"text/event-stream; charset=utf-8"


class Ending(Enum):
    KEEP = "keep"  # the response is complete
    CLOSE = "close"  # the connection is closed
    RESET = "reset"  # the connection is reset


class Answer(NamedTuple):
    status: int  # 0: none is sent
    pieces: list[bytes]  # written one after another, `gap` seconds apart
    gap: float = 0.0
    ending: Ending = Ending.KEEP
    good: bool = False  # the client has its completion


def right_answer(request: Request, chat: ChatRequest, created: int, gap: float) -> Answer:
    """`gap` is between the chunks of a stream, and means nothing otherwise."""
    if chat.stream:
        return stream_answer(request, stream_events(chat, request.number, created), gap)
    made = completion if chat.kind == CHAT else body_of
    return Answer(200, [response(request, 200, made(chat, request.number, created))], good=True)


def stream_answer(request: Request, events: list[bytes], gap: float) -> Answer:
    """HTTP/1.0 knows no chunks: there the end of the connection is the end of the stream."""
    if request.http_1_0:
        head = response_head(request._replace(keep_alive=False), 200, EVENT_STREAM, b"")
        return Answer(200, [head, *events], gap, Ending.CLOSE, good=True)
    head = response_head(request, 200, EVENT_STREAM, b"transfer-encoding: chunked\r\n")
    frames = [chunk(event) for event in events]
    frames[0] = head + frames[0]
    frames[-1] += last_chunk
    return Answer(200, frames, gap, good=True)


def error(request: Request, status: int, body: bytes, headers: bytes = b"") -> Answer:
    return Answer(status, [response(request, status, body, headers=headers)])


def rate_limited(request: Request, wait: float | None) -> Answer:
    body = error_body("Rate limit reached. Please slow down.", "rate_limit_error", "rate_limit_exceeded")
    return error(request, 429, body, _retry_after(wait))


def overloaded(request: Request, wait: float | None) -> Answer:
    body = error_body("The server is overloaded.", "service_unavailable_error", "server_is_overloaded")
    return error(request, 503, body, _retry_after(wait))


def _retry_after(wait: float | None) -> bytes:
    """Whole seconds for everyone, milliseconds for the clients that read them."""
    if wait is None:
        return b""
    return b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (math.ceil(wait), math.ceil(wait * 1000))
