"""What an interactive request takes of its endpoint's budget of tokens and gives back, and how long it waits for a slot."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import httpx

from balancer.endpoint import Endpoint
from balancer.fleet.fleet import Fleet
from balancer.fleet.model_request import ModelRequest
from balancer.fleet.sending import Sender
from balancer.outcome import FailureKind, Usage
from balancer.routing import BalancingStrategy, FailoverRules
from balancer.state.rate_limits.local import LocalRateLimiter
from balancer.state.shared_state import local_state
from balancer.state.slots import Slots

ENDPOINT = Endpoint("http://one/v1", "one", models={"m": "m"}, max_concurrency=1, tpm=6_000_000)
ASKED = {"model": "m", "messages": [], "max_tokens": 900}
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'


class Ledger(LocalRateLimiter):
    """A pacer that never makes anybody wait, and knows what is taken."""

    def __init__(self) -> None:
        super().__init__([ENDPOINT])
        self.taken = 0

    async def acquire(self, endpoint: str, tokens: int) -> None:
        self.taken += tokens

    def reconcile(self, endpoint: str, expected: int, usage: Usage) -> None:
        self.taken += usage.prompt + usage.completion - expected


class Endless(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0)
            yield CHUNK


class Streaming(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Endless())


async def sender_with(ledger: Ledger, queue_wait: float) -> AsyncGenerator[tuple[Sender, Slots], None]:
    state = local_state([ENDPOINT])
    state.rate_limits = ledger
    async with Fleet([ENDPOINT], state, transport=Streaming()) as fleet:
        yield Sender(fleet, FailoverRules(BalancingStrategy.ROUND_ROBIN, 1, 5.0), queue_wait), state.slots


async def test_a_stream_that_is_left_keeps_the_tokens_of_its_prompt_and_chunks_alone() -> None:
    ledger = Ledger()
    async for sender, _ in sender_with(ledger, 5.0):
        asked = ModelRequest({**ASKED, "stream": True})
        async with aclosing(sender.stream(asked)) as chunks:
            for _ in range(3):
                await anext(chunks)
            assert ledger.taken > 900
        assert ledger.taken == 1 + 3


async def test_a_request_that_gets_no_slot_gives_everything_back() -> None:
    ledger = Ledger()
    async for sender, _ in sender_with(ledger, 0.01):
        holding = ModelRequest({**ASKED, "stream": True})
        async with aclosing(sender.stream(holding)) as chunks:
            await anext(chunks)
            before = ledger.taken
            late = ModelRequest(ASKED)
            sent = await sender.complete(late)
            assert sent.answer is None
            assert sent.failure is not None and sent.failure.kind is FailureKind.FLEET_FULL
            assert ledger.taken == before


async def test_being_turned_away_does_not_begin_the_wait_anew() -> None:
    async for sender, slots in sender_with(Ledger(), 0.1):
        holding = ModelRequest({**ASKED, "stream": True})
        async with aclosing(sender.stream(holding)) as chunks:
            await anext(chunks)
            late = ModelRequest(ASKED)
            waiting = asyncio.create_task(sender.complete(late))
            async with asyncio.timeout(5.0):
                while not waiting.done():
                    await asyncio.sleep(0.02)
                    slots.turn_away("one")
        failure = waiting.result().failure
        assert failure is not None and failure.kind is FailureKind.FLEET_FULL
