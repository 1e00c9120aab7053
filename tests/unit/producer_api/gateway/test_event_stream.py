"""How a stream of events ends, whoever ends it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from producer_api.gateway.event_stream import EventStream


class Source:
    """Yields events; `given` counts them, `ended` tells that the generator was closed or ran out."""

    def __init__(self, many: int) -> None:
        self.many = many
        self.given = 0
        self.ended = False

    async def events(self) -> AsyncGenerator[bytes, None]:
        try:
            for _ in range(self.many):
                self.given += 1
                yield b"data: x\n\n"
        finally:
            self.ended = True


class Reader:
    """Takes as many events as it wants, then stands still, or goes away."""

    def __init__(self, takes: int, goes: bool = False) -> None:
        self.sent: list[dict[str, Any]] = []
        self._takes = takes
        self._goes = goes
        self._full = asyncio.Event()

    async def send(self, message: Any) -> None:
        if len(self.sent) > self._takes and message.get("more_body"):
            self._full.set()
            await asyncio.Event().wait()
        self.sent.append(message)

    async def receive(self) -> dict[str, Any]:
        await self._full.wait()
        if not self._goes:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}


async def test_everything_is_sent_to_a_reader_that_reads() -> None:
    source, reader = Source(3), Reader(takes=100)
    await EventStream(source.events())({"type": "http"}, reader.receive, reader.send)
    assert [message.get("body") for message in reader.sent] == [None, *[b"data: x\n\n"] * 3, b""]
    assert source.ended


async def test_a_reader_that_stands_still_gathers_nothing_and_loses_its_source() -> None:
    source, reader = Source(1000), Reader(takes=2)
    with pytest.raises(ClientDisconnect):
        await EventStream(source.events(), standstill=0.01)({"type": "http"}, reader.receive, reader.send)
    assert (source.given, source.ended) == (3, True)


async def test_a_reader_that_goes_away_ends_the_source() -> None:
    source, reader = Source(1000), Reader(takes=2, goes=True)
    await EventStream(source.events())({"type": "http"}, reader.receive, reader.send)
    assert (source.given, source.ended) == (3, True)
