"""Clients that stop sending."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from producer_api.http import body_timeout as patience
from producer_api.http.body_timeout import BodyTimeout

SCOPE: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": []}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(await Request(scope, receive).body())(scope, receive, send)


def client(*pieces: bytes) -> Receive:
    """Send pieces of a body that is longer than they are, then nothing more."""
    left = list(pieces)

    async def receive() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(0), "more_body": True}
        await asyncio.Event().wait()
        raise AssertionError

    return receive


async def answer(receive: Receive, app: Any = echo) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await BodyTimeout(app)(SCOPE, receive, send)
    return sent


async def test_a_body_that_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PIECE_SECONDS", 0.05)
    start, body = await answer(client(b"half of ", b"it"))
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]
    assert b"request_timeout" in body["body"]


async def test_waiting_after_the_body_has_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PIECE_SECONDS", 0.05)
    messages = [{"type": "http.request", "body": b"whole", "more_body": False}]
    gone = asyncio.Event()

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        asyncio.get_running_loop().call_later(0.15, gone.set)
        assert (await receive())["type"] == "http.disconnect"
        await PlainTextResponse("done")(scope, receive, send)

    start, _ = await answer(receive, slow)
    assert start["status"] == 200
