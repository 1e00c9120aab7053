"""A streamed chat as the events of another API."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Protocol, TypeVar

from fastapi import Request
from starlette.responses import Response

from balancer.fleet.sending import ChatStream
from balancer.outcome import Usage
from balancer.results import ChatChunk
from producer_api.gateway.admission import Admitted
from producer_api.gateway.chat import opened, refusal, stream_headers
from producer_api.gateway.event_stream import EventStream, begun
from producer_api.gateway.failures import problem_of
from producer_api.http.errors import Problem

__all__ = ["StreamEvents", "converted_stream"]


class StreamEvents(Protocol):
    """Makes the events of one stream, in their order: `opening`, `take` for each chunk, then `ending` or `failing`."""

    def opening(self) -> Iterable[bytes]: ...
    def take(self, chunk: ChatChunk, /) -> Iterable[bytes]: ...
    def ending(self, usage: Usage | None, /) -> Iterable[bytes]: ...
    def failing(self, problem: Problem, /) -> bytes: ...


Made = TypeVar("Made", bound=StreamEvents)


async def _nothing(_: StreamEvents) -> None:
    return None


async def converted_stream(
    request: Request,
    chunks: ChatStream,
    admitted: Admitted,
    make: Callable[[ChatChunk], Made],
    before_end: Callable[[Made], Awaitable[None]] = _nothing,
) -> Response:
    """Return a response that streams `chunks` as other events, or the error response if the request fails before the first chunk.

    `make` is called with the first chunk; `before_end` is awaited before the last events are sent.
    """
    first = await opened(request, chunks, admitted)
    if first is None:
        return refusal(chunks.sent, admitted)
    events = await begun(_events(first, chunks, admitted, make(first), before_end))
    return EventStream(events, stream_headers(first, chunks, admitted))


async def _events(
    first: ChatChunk, chunks: ChatStream, admitted: Admitted, events: Made, before_end: Callable[[Made], Awaitable[None]]
) -> AsyncGenerator[bytes, None]:
    """Yield nothing at first (see `begun`), then the events."""
    async with admitted:
        try:
            async with aclosing(chunks):
                yield b""
                for event in (*events.opening(), *events.take(first)):
                    yield event
                async for chunk in chunks:
                    for event in events.take(chunk):
                        yield event
        finally:
            admitted.spent(chunks.sent)
        sent = chunks.sent
        if sent.failure is not None:
            yield events.failing(problem_of(sent))
            return
        last = list(events.ending(sent.outcome.usage if sent.outcome else None))
        await before_end(events)
        for event in last:
            yield event
