"""Sends interactive requests to the best endpoint, with failover to others."""

import asyncio
import functools
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from balancer.fleet.answer_cache import AnswerCache, key_of
from balancer.fleet.fleet import CHAT_PATH, Fleet
from balancer.fleet.model_request import ModelRequest
from balancer.fleet.prompt_prefixes import PromptPrefixes
from balancer.fleet.sent import Sent
from balancer.fleet.slot import Slot, SlotLapsed
from balancer.outcome import Failure, FailureKind, Outcome
from balancer.results import ChatChunk
from balancer.routing import Attempts, BalancingStrategy, FailoverRules, GiveUp, Go, Option, Target, Wait, decide
from balancer.state.health import Circuit

__all__ = ["ChatStream", "Sender", "asking"]


class Sender:
    """Picks endpoints, waits for slots, sends, and moves on. Use on one event loop.

    `queue_wait` bounds the seconds that a request waits for slots (None: the wait is over when a slot is free). `draining` and
    `suspects` are looked at each time: endpoints that get nothing more, and those that are not used before a check has passed.
    `on_outcome` is called with the outcome of every attempt. With `prefixes`, requests that begin alike are kept together; with
    `answers`, a whole answer is used again for the same request.
    """

    def __init__(
        self,
        fleet: Fleet,
        rules: FailoverRules,
        queue_wait: float | None = None,
        draining: Collection[str] = (),
        suspects: Callable[[], Collection[str]] = tuple,
        on_outcome: Callable[[Outcome], None] = lambda _: None,
        prefixes: PromptPrefixes | None = None,
        answers: AnswerCache | None = None,
    ) -> None:
        self._fleet = fleet
        self._rules = rules
        self._queue_wait = queue_wait
        self._draining = draining
        self._suspects = suspects
        self._on_outcome = on_outcome
        self._prefixes = prefixes
        self._answers = answers
        self._turns: Mapping[str, float] = {}
        self._rng = random.Random()

    async def complete(self, request: ModelRequest) -> Sent:
        """Return the answer, or why the request was given up. Cancelled, it aborts the request at its endpoint."""
        key = key_of(request) if self._answers is not None else None
        if self._answers is None or key is None:
            return await self._send(request)
        if (known := self._answers.get(key)) is not None:
            return Sent.of_known(known)
        sent = await self._send(request)
        if sent.answer is not None:
            self._answers.put(key, sent.answer)
        return sent

    async def _send(self, request: ModelRequest) -> Sent:
        way = self._way(request, Sent())
        slot: Slot | None = None
        try:
            while (chosen := await self._next_slot(way)) is not None:
                slot, target = chosen
                try:
                    with slot:
                        body = self._asking(request, target)
                        outcome = await self._fleet.send(slot, request.path, body, request.owner, request.api_key)
                except SlotLapsed:
                    continue
                self._take_in(outcome, way, target)
                if outcome.failure is None:
                    break
        except asyncio.CancelledError:
            if slot is not None and slot.abandoned is not None:
                way.sent.add(slot.abandoned)
            if request.on_abandoned is not None:
                request.on_abandoned(way.sent)
            raise
        return way.sent

    def stream(self, request: ModelRequest) -> "ChatStream":
        """Return the answer's chunks as they come. It falls back to other endpoints until the first chunk, never after."""
        sent = Sent()
        return ChatStream(self._chunks(self._way(request, sent)), sent)

    async def _chunks(self, way: "_Way") -> AsyncGenerator[ChatChunk, None]:
        request, taken = way.request, False
        while not taken and (chosen := await self._next_slot(way)) is not None:
            slot, target = chosen
            end = functools.partial(self._take_in, way=way, target=target)
            with slot:
                body = self._asking(request, target)
                chunks = self._fleet.stream(slot, CHAT_PATH, body, end, request.owner, request.api_key)
                async with aclosing(chunks):
                    async for chunk in chunks:
                        taken = True
                        yield chunk
            if way.sent.failure is None:
                return

    def _way(self, request: ModelRequest, sent: Sent) -> "_Way":
        prefix = self._prefixes.of(request.body, len(self._fleet.endpoints)) if self._prefixes is not None else None
        return _Way(request, Attempts(self._fleet.catalog.routes.models_for(request.body), prefix), sent)

    def _asking(self, request: ModelRequest, target: Target) -> Mapping[str, Any]:
        body = asking(request.body, target.model)
        return self._fleet.with_defaults(target.endpoint, body, request.defaults) if request.defaults else body

    def _take_in(self, outcome: Outcome, way: "_Way", target: Target) -> None:
        way.sent.add(outcome)
        if outcome.failure is not None:
            way.attempts.failed(target, outcome.failure)
        if not outcome.abandoned:
            self._on_outcome(outcome)

    async def _next_slot(self, way: "_Way") -> tuple[Slot, Target] | None:
        """Return where to try next, with a slot held; None when the request has been given up, which `way.sent` says then."""
        while True:
            match decide(way.attempts, self._options(way), self._rules, self._turns, self._rng):
                case GiveUp(failure):
                    way.sent.failure = failure
                    return None
                case Wait(seconds):
                    await asyncio.sleep(seconds)
                    way.attempts.next_round(seconds)
                case Go(target, turns):
                    self._turns = turns
                    try:
                        slot = await self._slot(target.endpoint, way)
                    except TimeoutError:
                        what = f"no endpoint had room for the request within {self._queue_wait:g} s"
                        way.sent.failure = Failure(FailureKind.FLEET_FULL, what, retry_after=self._queue_wait)
                        return None
                    if slot is not None:
                        return slot, target

    async def _slot(self, endpoint: str, way: "_Way") -> Slot | None:
        """Wait for a slot; None if the endpoint turned bad or went away. Raises TimeoutError.

        All waits of a request count together: an endpoint that turns bad sends those who wait for it away, to come back when
        nothing else is left.
        """
        slot = self._fleet.try_slot(endpoint)
        if slot is None:
            began = time.monotonic()
            left = None if self._queue_wait is None else max(0.0, self._queue_wait - way.queued)
            try:
                async with asyncio.timeout(left):
                    slot = await self._fleet.slot(endpoint, way.request.body)
            finally:
                way.queued += time.monotonic() - began
        if slot is not None and endpoint in self._draining:
            slot.release()
            return None
        return slot

    def _options(self, way: "_Way") -> list[Option]:
        fleet, suspects, only = self._fleet, self._suspects(), way.request.only
        # Requests of other clients that wait inside an endpoint are load as well; only that strategy compares loads.
        queued = fleet.prober.queued if self._rules.strategy is BalancingStrategy.LEAST_CONNECTIONS else {}
        options = []
        for position, model in enumerate(way.attempts.models):
            for name, endpoint in fleet.endpoints.items():
                if name in self._draining or (only is not None and name not in only) or not fleet.catalog.serves(name, model):
                    continue
                health = replace(fleet.health[name], circuit=Circuit.OPEN) if name in suspects else fleet.health[name]
                in_flight, limit = fleet.slots.load(name), fleet.limits[name].value
                options.append(Option(endpoint, health, in_flight + queued.get(name, 0), model, position, in_flight, limit))
        return options


class ChatStream(AsyncIterator[ChatChunk]):
    """The chunks of a streamed answer. `sent` says what was tried so far, and after the end what came of it: an answer that broke
    off has a `failure`. Close it with `aclose` if it is left early."""

    def __init__(self, chunks: AsyncGenerator[ChatChunk, None], sent: Sent) -> None:
        self._chunks = chunks
        self.sent = sent

    async def __anext__(self) -> ChatChunk:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        """Leave the request at its endpoint."""
        await self._chunks.aclose()


@dataclass(slots=True)
class _Way:
    """A request on its way through the fleet."""

    request: ModelRequest
    attempts: Attempts
    sent: Sent
    queued: float = 0.0
    """Seconds spent on waiting for slots."""


def asking(body: Mapping[str, Any], model: str | None) -> Mapping[str, Any]:
    """Return a request that asks for one model of its chain."""
    if body.get("model") == model and "models" not in body:
        return body
    asked = {name: value for name, value in body.items() if name not in ("model", "models")}
    return {"model": model, **asked} if model else asked
