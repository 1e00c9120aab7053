"""What a stream used, and what it gives back, whoever ends it and when."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from balancer.endpoint import Endpoint, Price
from balancer.outcome import Failure, FailureKind, Outcome, Usage
from balancer.results import ChatChunk
from balancer.trial import Trial
from producer_api.gateway.chat import begun
from producer_api.gateway.event_stream import EventStream
from producer_api.gateway.told import Told

ENDPOINT = Endpoint("http://one/v1", "one", models={"m": "m-1"}, price=Price(1000.0, 2000.0))
BODY = {"model": "m", "messages": [{"role": "user", "content": "x" * 400}, {"role": "user", "content": [{"type": "image_url"}]}]}


def chunk(text: str) -> ChatChunk:
    return ChatChunk(text, "one")


def asked() -> Trial:
    trial = Trial(1.0, ("m",))
    trial.model = "m"
    return trial


def test_a_stream_that_came_to_its_end_used_what_the_endpoint_says() -> None:
    trial = asked()
    told = Told(BODY, ENDPOINT, chunk("a"), trial)
    ended = Outcome("one", 0.1, 200, usage=Usage(7, 8), cost=0.5)
    trial.note(ended)
    assert told.outcome() is ended


def test_one_that_was_left_is_guessed_at() -> None:
    told = Told(BODY, ENDPOINT, chunk("a"), asked())
    told.take(chunk("b" * 99))
    guessed = told.outcome()
    assert (guessed.usage, guessed.model) == (Usage(100, 25), "m-1")
    assert guessed.cost == pytest.approx((100 * 1000 + 25 * 2000) / 1e6)


def test_one_that_broke_off_is_guessed_at_and_every_chunk_is_a_token() -> None:
    trial = asked()
    told = Told(BODY, None, chunk(""), trial)
    told.take(chunk(""))
    trial.note(Outcome("one", 0.1, 200, failure=Failure(FailureKind.CONNECTION, "the stream broke off", 200)))
    guessed = told.outcome()
    assert (guessed.usage, guessed.cost) == (Usage(100, 2), None)


def test_an_attempt_before_it_is_not_its_own() -> None:
    trial = asked()
    trial.note(Outcome("zero", 0.1, 500, usage=Usage(1, 1), failure=Failure(FailureKind.SERVER, "m", 500)))
    assert Told(BODY, ENDPOINT, chunk("a"), trial).outcome().usage == Usage(100, 1)


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
