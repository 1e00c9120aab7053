"""The fleet: sends requests to endpoints, and reports their outcomes to slots, health, rate limits and usage."""

import asyncio
import functools
import logging
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

import httpx
from redis.exceptions import RedisError

from balancer.endpoint import Endpoint
from balancer.errors import ConfigurationError
from balancer.fleet.batches import EndpointBatches
from balancer.fleet.endpoint_connection import EndpointConnection
from balancer.fleet.prober import Prober
from balancer.fleet.slot import Slot, SlotLapsed
from balancer.fleet.stream_upstream import answer_of
from balancer.fleet.streaming import StreamReading, failure_of
from balancer.fleet.used_up import used_up_for
from balancer.fleet.watch import Watch
from balancer.http import (
    MAX_ANSWER_BYTES,
    REQUEST_TIMEOUT,
    HttpClient,
    HttpError,
    HttpxClient,
    PooledClient,
)
from balancer.outcome import NO_USAGE, Failure, FailureKind, Outcome, tier_of
from balancer.providers import Answer, Call, RequestRefused, adapter_for
from balancer.providers.kinds import CHAT_PATH
from balancer.results import ChatChunk
from balancer.routing.model_catalog import ModelCatalog, upstream_model
from balancer.routing.model_routes import NO_ROUTES, ModelRoutes
from balancer.runtime.tracing import tracing
from balancer.state.health import Circuit
from balancer.state.rate_limits.shared import expected_tokens
from balancer.state.shared_state import SharedState
from balancer.state.slots.fair_queue import ONE_FLOW, Flow
from balancer.usage.price_class import PriceClass, asking_for, timeout_of
from balancer.usage.pricing import cost_of
from balancer.usage.token_guess import guessed_usage

__all__ = ["CHAT_PATH", "Fleet"]

ENGINE_TIMEOUT = 1.0
"""Seconds that an engine may take to report its load: the limits of all endpoints wait for it."""

log = logging.getLogger(__name__)


class Fleet:
    """All endpoints, with their slots, health and budgets, which `state` shares with other processes or keeps for this one.

    Use as an async context manager.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        state: SharedState,
        timeout: float = REQUEST_TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
        routes: ModelRoutes = NO_ROUTES,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._state = state
        self._timeout = timeout
        self._max_answer_bytes = max_answer_bytes
        self._client: HttpClient = (
            PooledClient(max_answer_bytes=max_answer_bytes) if transport is None else HttpxClient(transport, max_answer_bytes)
        )
        self._connections = {e.name: EndpointConnection(e, adapter_for(e.provider)) for e in endpoints}
        self._asked: dict[str, asyncio.Lock] = {}
        self.endpoints = {e.name: e for e in endpoints}
        self.draining: set[str] = set()
        """Endpoints that get nothing more; what is in flight there may end."""
        self.catalog = ModelCatalog(self.endpoints, routes)
        self.prober = Prober(self.endpoints, self._connections, self._client, state, self.catalog, timeout)
        self._watch = Watch(self.prober)
        self.slots = state.slots
        self.health = state.health
        self.rate_limits = state.rate_limits
        self.limits = state.limits
        self.limits.ask_engine = functools.partial(self.prober.engine_load, timeout=ENGINE_TIMEOUT)
        self.usage = state.usage

    async def __aenter__(self) -> "Fleet":
        # The first request is to see what the other processes have in flight.
        with suppress(RedisError):  # the loops below tell of it
            await asyncio.gather(self.limits.refresh(), self.slots.refresh(), self.health.refresh())
        self.limits.start()
        self.slots.start()
        self.health.start()
        if self.usage is not None:
            self.usage.start()
        self._watch.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._watch.aclose()
        await self.limits.aclose()
        await self.slots.aclose()
        await self.health.aclose()
        if self.usage is not None:
            await self.usage.aclose()
        await self._client.aclose()

    def with_defaults(self, endpoint: str, body: Mapping[str, Any], defaults: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a request with those of `defaults` that it does not say itself and that the endpoint takes."""
        connection = self._connections[endpoint]
        return {
            **{name: value for name, value in defaults.items() if connection.adapter.takes(connection.endpoint, name)},
            **body,
        }

    def try_slot(self, endpoint: str) -> Slot | None:
        """Return a slot if one is at hand at an endpoint without rate limits."""
        if not self.rate_limits.is_limited(endpoint) and self.slots.try_acquire(endpoint):
            return Slot(endpoint, ONE_FLOW, self.slots, self.rate_limits, None)
        return None

    async def slot(self, endpoint: str, body: Mapping[str, Any], flow: Flow = ONE_FLOW) -> Slot | None:
        """Wait until the endpoint's rate limits let a request pass, then for a slot; None if it turned bad or went away.

        The slot has to be released, however the request ends.
        """
        if not self.rate_limits.is_limited(endpoint):
            held = await self.slots.acquire(endpoint, flow)
            return Slot(endpoint, flow, self.slots, self.rate_limits, None) if held else None
        expected = expected_tokens(body)
        await self.rate_limits.acquire(endpoint, expected)
        held = False
        try:
            held = endpoint in self.endpoints and await self.slots.acquire(endpoint, flow)
        finally:
            if not held:
                self.rate_limits.reconcile(endpoint, expected, NO_USAGE)
        return Slot(endpoint, flow, self.slots, self.rate_limits, expected) if held else None

    async def send(
        self,
        slot: Slot,
        path: str,
        body: Mapping[str, Any],
        owner: str = "",
        api_key: str | None = None,
        repeated: bool = False,
        source: str = "",
    ) -> Outcome:
        """Send one request to the slot's endpoint and say what came of it; never raises for anything that the endpoint does.

        Raises SlotLapsed, with nothing sent, if the slot may be another process's by now. Cancelled, it aborts the request;
        `slot.abandoned` says then what it has used, as far as that can be guessed.

        The slot stays the caller's. Its rate limits, the health and the usage of `owner` (the id of an API key, or nothing) learn
        of the outcome. `api_key` replaces the endpoint's own for this request alone. `repeated` says that the request has failed
        there before, so that another failure of it is no news of the endpoint. `source` is where it comes from, for the account
        of usage.
        """
        connection = self._connections[slot.endpoint]
        try:
            if path not in connection.adapter.paths:
                raise RequestRefused("url", f"{connection.endpoint.name} does not answer requests to {path}")
            asked = await self._with_model(connection.endpoint, self._in_price_class(connection.endpoint, body))
            if connection.endpoint.stream_upstream and path == CHAT_PATH:
                asked = {**asked, "stream": True}
            call = connection.adapter.call(connection.endpoint, path, asked)
        except RequestRefused as exc:
            return _refused(slot.endpoint, exc)
        slot.sent = True
        version = self.limits.begin(slot.endpoint)
        try:
            outcome = await self._outcome(connection, path, call, api_key, slot, timeout_of(asked, self._timeout))
        except SlotLapsed:
            self.limits.end(slot.endpoint, version, None)
            slot.sent = False
            raise
        except asyncio.CancelledError:
            self.limits.end(slot.endpoint, version, None)
            slot.abandoned = _abandoned(connection, call, body)
            self._report(connection, slot.abandoned, owner, api_key, source)
            slot.account(slot.abandoned)
            raise
        too_many = self.limits.end(slot.endpoint, version, outcome)
        if repeated or too_many:
            outcome = replace(outcome, repeated=repeated, too_many=too_many)
        self._report(connection, outcome, owner, api_key, source)
        slot.account(outcome)
        return outcome

    def batches(self, endpoint: str) -> EndpointBatches | None:
        """Return the provider's batches at an endpoint; None if it has none, or is not set to use them."""
        connection = self._connections[endpoint] if endpoint in self.endpoints else None
        if connection is None or not connection.endpoint.batch:
            return None
        api = connection.adapter.batches(connection.endpoint)
        return None if api is None else EndpointBatches(connection, api, self._client)

    def _report(
        self, connection: EndpointConnection, outcome: Outcome, owner: str, api_key: str | None, source: str = ""
    ) -> None:
        # A caller's own key that is refused says nothing about the endpoint, nor does a reader that leaves.
        if not (outcome.abandoned or (api_key and outcome.failure and not outcome.failure.counts_against_endpoint)):
            self.health.record(outcome)
        if self.usage is not None:
            self.usage.record(connection.endpoint, outcome, owner, source)

    def _in_price_class(self, endpoint: Endpoint, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return body if endpoint.price_class != PriceClass.FLEX else asking_for(PriceClass.FLEX, endpoint, body)

    async def _outcome(
        self, connection: EndpointConnection, path: str, call: Call, api_key: str | None, slot: Slot, timeout: float
    ) -> Outcome:
        if (traced := tracing()) is None:
            return await self._exchange(connection, call, api_key, slot, timeout)
        span, outcome = traced.call(connection.endpoint, path, call.model), None
        try:
            outcome = await self._exchange(connection, call, api_key, slot, timeout, span.headers)
        finally:
            span.end(outcome)
        return outcome

    async def _exchange(
        self,
        connection: EndpointConnection,
        call: Call,
        api_key: str | None,
        slot: Slot,
        timeout: float,
        headers: Mapping[str, str] | None = None,
    ) -> Outcome:
        name = connection.endpoint.name
        started = time.perf_counter()
        connection.signs.begin()
        try:
            request = connection.request(call.path, call.body, api_key)
            if headers:
                request = request.with_headers(headers)
            response = await self._client.send(request, call.body, timeout, call.stream, slot.check)
            connection.signs.alive()
        except (HttpError, ConfigurationError) as exc:
            return Outcome(name, time.perf_counter() - started, failure=failure_of(exc), model=call.model)
        finally:
            connection.signs.end()
        answer = answer_of(connection.adapter, call, response)
        if answer.failure is not None:
            answer = _without_key(answer, api_key or connection.endpoint.api_key)
        tier = tier_of(answer.parsed)
        return Outcome(
            endpoint=name,
            latency=time.perf_counter() - started,
            status=response.status,
            body=answer.body,
            request_id=response.headers.get("x-request-id") or response.headers.get("request-id", ""),
            usage=answer.usage,
            failure=answer.failure,
            parsed=answer.parsed,
            model=call.model,
            cost=cost_of(answer.usage, connection.endpoint, call.model, tier),
            tier=tier,
            used_up_for=0.0 if api_key else used_up_for(response.headers),  # a caller's own key has limits of its own
        )

    async def stream(
        self,
        slot: Slot,
        path: str,
        body: Mapping[str, Any],
        on_end: Callable[[Outcome], None],
        owner: str = "",
        api_key: str | None = None,
    ) -> AsyncGenerator[ChatChunk, None]:
        """Send one request and yield the chunks of its answer; never raises for anything that the endpoint does.

        The slot stays the caller's. However it ends, also by closing the generator, `on_end` is called with the outcome, once;
        the rate limits, the health and the usage of `owner` learn of it too.
        """
        connection = self._connections[slot.endpoint]
        try:
            asked = await self._with_model(connection.endpoint, self._in_price_class(connection.endpoint, body))
            call = connection.adapter.call(connection.endpoint, path, asked)
            request = connection.request(call.path, call.body, api_key)
        except RequestRefused as exc:
            on_end(_refused(slot.endpoint, exc))
            return
        except (HttpError, ConfigurationError) as exc:
            on_end(Outcome(slot.endpoint, 0.0, failure=failure_of(exc)))
            return
        slot.sent = True
        span = traced.call(connection.endpoint, path, call.model) if (traced := tracing()) is not None else None
        if span is not None:
            request = request.with_headers(span.headers)
        signs = connection.signs
        timeout = timeout_of(asked, self._timeout)
        reading = StreamReading(slot.endpoint, connection.adapter, call, body, timeout, self._max_answer_bytes, signs.alive)
        signs.begin()
        version = self.limits.begin(slot.endpoint)
        try:
            async with aclosing(reading.chunks(self._client, request)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            signs.end()
            outcome = reading.outcome()
            too_many = self.limits.end(slot.endpoint, version, outcome)
            cost = cost_of(outcome.usage, connection.endpoint, call.model, outcome.tier)
            outcome = replace(outcome, cost=cost, too_many=too_many)
            self._report(connection, outcome, owner, api_key)
            if span is not None:
                span.end(outcome)
            slot.account(outcome)
            on_end(outcome)

    async def refresh_models(self) -> None:
        """Read which models the endpoints without a list of their own serve, as the last check by any process found."""
        self.catalog.learn_unordered(await self._state.listed_models([n for n, e in self.endpoints.items() if not e.models]))

    async def _with_model(self, endpoint: Endpoint, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Name a model where neither the request nor the endpoint's settings do: the first that the endpoint lists, which is
        asked for once."""
        if body.get("model") or upstream_model(endpoint, None) or not self._connections[endpoint.name].adapter.lists_models:
            return body
        name = endpoint.name
        if not self.catalog.has_asked(name):
            async with self._asked.setdefault(name, asyncio.Lock()):
                if not self.catalog.has_asked(name):
                    outcome = await self.prober.check(name)
                    if outcome.status is not None and not self.catalog.has_asked(name):
                        self.catalog.learn(name, ())  # one that did not answer is queried again when it does
        model = self.catalog.listed_default(name)
        return {**body, "model": model} if model else body

    def add(self, endpoint: Endpoint) -> None:
        """Use another endpoint from now on."""
        self.catalog.forget(endpoint.name)
        self.prober.queued.pop(endpoint.name, None)
        self._connections[endpoint.name] = EndpointConnection(endpoint, adapter_for(endpoint.provider))
        self.limits.add(endpoint)
        self.slots.add(endpoint)
        self.health.add(endpoint.name)
        self.rate_limits.add(endpoint)
        self.endpoints[endpoint.name] = endpoint

    def remove(self, endpoint: str) -> None:
        """Use an endpoint no more. Its requests in flight end as they do."""
        del self.endpoints[endpoint]
        self.draining.discard(endpoint)
        self.prober.queued.pop(endpoint, None)
        self.limits.remove(endpoint)
        self.slots.remove(endpoint)
        self.health.remove(endpoint)
        self.rate_limits.remove(endpoint)

    def drain(self, endpoints: Collection[str]) -> None:
        """Let these endpoints, and no others, get nothing more."""
        for name in set(endpoints) - self.draining:
            self.slots.turn_away(name)
        self.draining.clear()  # the object stays: others look at it
        self.draining.update(endpoints)

    def is_tried_out(self, endpoint: str) -> bool:
        """Whether requests find out now whether an endpoint that was failing is well again."""
        return self.health[endpoint].circuit is Circuit.HALF_OPEN


def _without_key(answer: Answer, key: str | None) -> Answer:
    """Take the key out of what an endpoint says: some quote it."""
    if not key or answer.failure is None:
        return answer
    failure = replace(answer.failure, message=answer.failure.message.replace(key, "…"))
    return replace(answer, failure=failure, body=answer.body.replace(key.encode(), "…".encode()))


def _abandoned(connection: EndpointConnection, call: Call, body: Mapping[str, Any]) -> Outcome:
    """Return the outcome of an aborted request: most services charge for its prompt."""
    usage = guessed_usage(body, NO_USAGE, 0, 0)
    cost = cost_of(usage, connection.endpoint, call.model)
    return Outcome(connection.endpoint.name, 0.0, usage=usage, model=call.model, cost=cost, guessed=True, abandoned=True)


def _refused(endpoint: str, error: RequestRefused) -> Outcome:
    return Outcome(endpoint, 0.0, failure=Failure(FailureKind.UNSUPPORTED, str(error), 400, param=error.param))
