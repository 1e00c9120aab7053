"""The load balancer for programs of one's own, asynchronous: `AsyncLoadBalancer`."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal, Self, overload

import httpx

from balancer.checks import Checks
from balancer.construction import FromSettings
from balancer.endpoint import Endpoint
from balancer.errors import BalancerClosed, ConfigurationError
from balancer.fleet import Fleet
from balancer.health import Circuit
from balancer.model_routes import NO_ROUTES, ModelRoutes
from balancer.outcome import NO_USAGE, Failure, FailureKind, Outcome
from balancer.pacing import expected_tokens
from balancer.results import ChatChunk, ChatFailed, ChatResult
from balancer.routing import Option, RetryPlan, choose, least_bad, pause_before
from balancer.state import SharedState, local_state, redis_state
from balancer.statistics import Statistics
from balancer.strategy import BalancingStrategy
from balancer.trial import Trial
from balancer.validation import check_numbers, checked_endpoints, checked_strategy

__all__ = ["AsyncLoadBalancer"]

CHAT_PATH = "/chat/completions"
Messages = Sequence[Mapping[str, Any]]


class AsyncLoadBalancer(FromSettings):
    """Spreads chat requests over endpoints, on one event loop.

    With `redis_url`, every process that names the same Redis shares requests in flight, health and limits; without it, this
    balancer is on its own. `timeout` (seconds) bounds one attempt; `retry_count` is the number of further attempts.
    Raises ConfigurationError (a ValueError) for endpoints that can't be used.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        strategy: BalancingStrategy | str = BalancingStrategy.WEIGHTED,
        *,
        enable_health_check: bool = True,
        health_check_interval: float = 30.0,
        timeout: float = 60.0,
        retry_count: int = 2,
        fallback_on_failure: bool = True,
        redis_url: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        routes: ModelRoutes = NO_ROUTES,
    ) -> None:
        self._endpoints = checked_endpoints(endpoints)
        self._strategy = checked_strategy(strategy)
        check_numbers(timeout, retry_count, health_check_interval)
        self._check_every = health_check_interval if enable_health_check else None
        self._timeout = timeout
        self._plan = RetryPlan(retry_count + 1, fallback_on_failure)
        self._redis_url = redis_url
        self._transport = transport
        self._routes = routes
        self._turns: dict[str, float] = {}
        self._rng = random.Random()
        self._statistics = Statistics(self._strategy)
        self._draining: set[str] = set()
        self._fleet: Fleet | None = None
        self._state: SharedState | None = None
        self._starting = asyncio.Lock()
        self._checks: Checks | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        await self._started()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @overload
    async def chat(self, messages: Messages, *, stream: Literal[False] = False, **fields: Any) -> ChatResult: ...

    @overload
    async def chat(self, messages: Messages, *, stream: Literal[True], **fields: Any) -> AsyncIterator[ChatChunk]: ...

    async def chat(self, messages: Messages, *, stream: bool = False, **fields: Any) -> ChatResult | AsyncIterator[ChatChunk]:
        """Send a conversation to an endpoint and return what came of it; with `stream`, iterate over the answer's chunks.

        `fields` are `model`, `temperature`, `max_tokens` and any other field of a chat request; those that are None are left
        out. Never raises for a back end's failure: the result says `success` False and why. (A stream that fails raises
        ChatFailed; before its first chunk other endpoints have been tried.) Raises BalancerClosed.
        """
        fleet = await self._started()
        body = {"messages": list(messages), **{name: value for name, value in fields.items() if value is not None}}
        if stream:
            return self._stream(fleet, body | {"stream": True})
        return await self._complete(fleet, body)

    async def _complete(self, fleet: Fleet, body: Mapping[str, Any]) -> ChatResult:
        trial = Trial(self._timeout, fleet.routes.models_for(body))
        while (endpoint := await self._next_endpoint(fleet, body, trial)) is not None:
            outcome = await self._send(fleet, endpoint, asking(body, trial.model))
            trial.note(outcome)
            self._statistics.note(outcome)
            if outcome.failure is None:
                return trial.succeeded(outcome)
        return trial.failed()

    async def _next_endpoint(self, fleet: Fleet, body: Mapping[str, Any], trial: Trial) -> str | None:
        """Return the endpoint to try next, with a slot held; None when the request has been given up."""
        most = max(self._plan.attempts, len(trial.models) if self._plan.fallback else 1)
        while len(trial.attempts) < most and trial.may_go_on(self._plan.fallback):
            options = self._options(fleet, trial.models)
            if not options:
                asked = " or ".join(repr(model) for model in trial.models if model)
                what = f"serves the model {asked}" if asked else "is left: they were removed or are being drained"
                trial.failure = Failure(FailureKind.UNAVAILABLE, f"no endpoint {what}")
                return None
            if not self._plan.fallback and trial.attempts:
                options = [option for option in options if option.endpoint.name == trial.attempts[0].endpoint] or options
            chosen = choose(self._strategy, options, trial.tried, self._turns, self._rng)
            if chosen is None:
                pause = pause_before(self._plan, trial.rounds, options, trial.patience, self._rng)
                if pause is not None:
                    await asyncio.sleep(pause)
                    trial.next_round(pause)
                    continue
                if trial.attempts:
                    return None
                chosen = least_bad(options, self._turns)
            self._turns = chosen.turns
            if await self._slot(fleet, chosen.name, body):
                trial.tried.add((chosen.name, chosen.model))
                trial.model = chosen.model
                return chosen.name
        return None

    def _options(self, fleet: Fleet, models: tuple[str | None, ...]) -> list[Option]:
        suspects = self._suspects()
        return [
            Option(
                fleet.endpoints[name],
                replace(fleet.health[name], circuit=Circuit.OPEN) if name in suspects else fleet.health[name],
                fleet.slots.load(name),
                model,
                position,
            )
            for position, model in enumerate(models)
            for name in fleet.endpoints
            if name not in self._draining and fleet.serves(name, model)
        ]

    async def _slot(self, fleet: Fleet, endpoint: str, body: Mapping[str, Any]) -> bool:
        """Wait for the endpoint's budget and a slot; False if it turned bad or went away meanwhile."""
        if fleet.pacer.is_paced(endpoint):
            await fleet.pacer.take(endpoint, _expected_tokens(body))
            if endpoint in self._draining:
                return False
        return endpoint in fleet.endpoints and await fleet.slots.acquire(endpoint)

    async def _send(self, fleet: Fleet, endpoint: str, body: Mapping[str, Any]) -> Outcome:
        try:
            outcome = await fleet.send(endpoint, CHAT_PATH, body)
        finally:
            fleet.slots.release(endpoint)
        self._settle(fleet, outcome, body)
        return outcome

    def _settle(self, fleet: Fleet, outcome: Outcome, body: Mapping[str, Any]) -> None:
        """Correct the endpoint's budget by what the request really used, where that is known."""
        if fleet.pacer.is_paced(outcome.endpoint) and (outcome.failure or outcome.usage != NO_USAGE):
            fleet.pacer.settle(outcome.endpoint, _expected_tokens(body), outcome.usage)

    async def _stream(self, fleet: Fleet, body: Mapping[str, Any]) -> AsyncGenerator[ChatChunk, None]:
        trial = Trial(self._timeout, fleet.routes.models_for(body))
        begun = False
        while not begun and (endpoint := await self._next_endpoint(fleet, body, trial)) is not None:
            try:
                async with aclosing(fleet.stream(endpoint, CHAT_PATH, asking(body, trial.model))) as chunks:
                    async for chunk in chunks:
                        if isinstance(chunk, Outcome):
                            trial.note(chunk)
                            self._statistics.note(chunk)
                            self._settle(fleet, chunk, body)
                            break
                        begun = True
                        yield chunk
            finally:
                fleet.slots.release(endpoint)
            if trial.failure is None:
                return
        raise ChatFailed(trial.explanation(), tuple(trial.attempts))

    def get_stats(self) -> dict[str, Any]:
        """Return what this balancer has done, and how its endpoints are."""
        known = self._fleet.endpoints if self._fleet else {endpoint.name: endpoint for endpoint in self._endpoints}
        return self._statistics.as_dict(known.values(), self._fleet, self._suspects())

    async def add_endpoint(self, endpoint: Endpoint) -> None:
        """Use another endpoint from now on. Raises ConfigurationError if its name is taken."""
        fleet = await self._started()
        checked_endpoints([*fleet.endpoints.values(), endpoint])
        fleet.add(endpoint)

    async def remove_endpoint(self, url: str) -> bool:
        """Use the endpoint at `url` (or of that name) no more, and say whether there was one. What is in flight may end."""
        fleet = await self._started()
        found = self._find(fleet.endpoints.values(), url)
        if found is None:
            return False
        fleet.remove(found.name)
        self._draining.discard(found.name)
        self._suspects().discard(found.name)
        return True

    async def drain(self, url: str, timeout: float = 60.0) -> bool:
        """Send an endpoint nothing more and wait until it has nothing in flight from here; False if that took too long.

        It stays with the fleet; `add_endpoint` is not needed to use it again, `undrain` is. Raises ConfigurationError for an
        endpoint that is not there.
        """
        fleet = await self._started()
        found = self._find(fleet.endpoints.values(), url)
        if found is None:
            raise ConfigurationError("drain", url, "there is no such endpoint")
        self._draining.add(found.name)
        fleet.slots.turn_away(found.name)
        deadline = time.monotonic() + timeout
        while fleet.slots.in_use(found.name):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.01)
        return True

    def undrain(self, url: str) -> None:
        """Use a drained endpoint again."""
        known = self._fleet.endpoints.values() if self._fleet else ()
        found = self._find(known, url)
        if found is not None:
            self._draining.discard(found.name)

    async def close(self) -> None:
        """Close connections and give back what is held. A second time does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._checks:
            await self._checks.aclose()
        if self._fleet:
            await self._fleet.__aexit__(None, None, None)
        if self._state:
            await self._state.aclose()

    def _suspects(self) -> set[str]:
        return self._checks.suspects if self._checks else set()

    @staticmethod
    def _find(endpoints: Iterable[Endpoint], url: str) -> Endpoint | None:
        wanted = url.rstrip("/")
        return next((e for e in endpoints if wanted in (e.url, e.name)), None)

    async def _started(self) -> Fleet:
        if self._closed:
            raise BalancerClosed
        if self._fleet is not None:
            return self._fleet
        async with self._starting:
            if self._fleet is None:
                self._state = (
                    await redis_state(self._redis_url, self._endpoints) if self._redis_url else local_state(self._endpoints)
                )
                fleet = Fleet(self._endpoints, self._state, self._timeout, self._transport, self._routes)
                await fleet.__aenter__()
                self._fleet = fleet
                if self._check_every is not None:
                    self._checks = Checks(fleet, self._check_every)
                    self._checks.start()
        return self._fleet


def asking(body: Mapping[str, Any], model: str | None) -> Mapping[str, Any]:
    """Return a request that asks for one model of its chain."""
    if body.get("model") == model and "models" not in body:
        return body
    asked = {name: value for name, value in body.items() if name not in ("model", "models")}
    return {"model": model, **asked} if model else asked


def _expected_tokens(body: Mapping[str, Any]) -> int:
    return expected_tokens(body, len(str(body)))
