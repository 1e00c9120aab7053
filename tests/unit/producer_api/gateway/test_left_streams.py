"""A stream whose client goes away."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from producer_api.gateway.chat import begun
from producer_api.gateway.event_stream import EventStream


async def test_a_client_that_is_gone_before_the_head_is_sent_leaves_nothing_behind() -> None:
    given_back: list[str] = []

    class Held:
        async def aclose(self) -> None:
            given_back.append("slot")

    async def events() -> AsyncGenerator[bytes, None]:
        async with aclosing(Held()):
            yield b""
            yield b"data: x\n\n"

    async def send(message: Any) -> None:
        await asyncio.Event().wait()

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    await EventStream(await begun(events()))({"type": "http"}, receive, send)
    assert given_back == ["slot"]
