"""`AsyncLoadBalancer`: the load balancer for asyncio programs."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Literal, Self, overload

import httpx

from balancer.client.construction import FromSettings
from balancer.client.settings import BalancerSettings
from balancer.client.statistics import Statistics
from balancer.configuration.validation import checked_endpoints
from balancer.configuration.values import CacheSettings
from balancer.endpoint import Endpoint
from balancer.errors import BalancerClosed, BalancerError, ConfigurationError
from balancer.fleet.answer_cache import AnswerCache
from balancer.fleet.checks import Checks
from balancer.fleet.fleet import Fleet
from balancer.fleet.model_request import ModelRequest
from balancer.fleet.sending import Sender
from balancer.fleet.sent import Sent
from balancer.http import REQUEST_TIMEOUT
from balancer.results import ChatChunk, ChatFailed, ChatResult
from balancer.routing import PATIENCE, BalancingStrategy, FailoverRules
from balancer.routing.model_routes import NO_ROUTES, ModelRoutes
from balancer.runtime.loop import end_tasks
from balancer.state.shared_state import SharedState, local_state, redis_state

__all__ = ["AsyncLoadBalancer"]

Messages = Sequence[Mapping[str, Any]]


class AsyncLoadBalancer(FromSettings):
    """Spreads chat requests over endpoints, on one event loop.

    With `redis_url`, every process that names the same Redis shares requests in flight, health and limits; without it, this
    balancer is on its own. `timeout` (seconds) bounds one attempt; `retry_count` is the number of further attempts. With `cache`,
    whole answers are kept and used again for the same requests.
    Raises ConfigurationError (a ValueError) for endpoints that can't be used.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        strategy: BalancingStrategy | str = BalancingStrategy.WEIGHTED,
        *,
        enable_health_check: bool = True,
        health_check_interval: float = 30.0,
        timeout: float = REQUEST_TIMEOUT,
        retry_count: int = 2,
        fallback_on_failure: bool = True,
        redis_url: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        routes: ModelRoutes = NO_ROUTES,
        cache: CacheSettings | None = None,
    ) -> None:
        self._settings = BalancerSettings(
            endpoints,
            strategy,
            enable_health_check,
            health_check_interval,
            timeout,
            retry_count,
            fallback_on_failure,
            redis_url,
            transport,
            routes,
            cache,
        )
        self._statistics = Statistics(BalancingStrategy(self._settings.strategy))
        self._draining: set[str] = set()
        self._fleet: Fleet | None = None
        self._sender: Sender | None = None
        self._state: SharedState | None = None
        self._starting = asyncio.Lock()
        self._checks: Checks | None = None
        self._closed = False
        self._beginning = self._begin_on_running_loop()

    def _begin_on_running_loop(self) -> "asyncio.Task[None] | None":
        """Begin to check on endpoints and to learn of the other processes' requests, so that the first chat knows of both."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return None  # it begins with its first use
        return loop.create_task(self._begin(), name="load balancer's beginning")

    async def _begin(self) -> None:
        with suppress(BalancerError):  # the first use meets it again, and raises it
            await self._started()

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
        await self._started()
        body = {"messages": list(messages), **{name: value for name, value in fields.items() if value is not None}}
        if stream:
            return self._stream(ModelRequest(body | {"stream": True}))
        return (await self.send(ModelRequest(body))).result()

    async def send(self, request: ModelRequest) -> Sent:
        """Send a request of any kind, with its options (see ModelRequest), and return its attempts and its answer.

        Raises BalancerClosed.
        """
        await self._started()
        assert self._sender is not None
        return await self._sender.complete(request)

    async def _stream(self, request: ModelRequest) -> AsyncGenerator[ChatChunk, None]:
        assert self._sender is not None
        async with aclosing(self._sender.stream(request)) as chunks:
            async for chunk in chunks:
                yield chunk
        if chunks.sent.answer is None:
            raise ChatFailed(chunks.sent.explanation(), tuple(chunks.sent.attempts), chunks.sent.failure)

    def get_stats(self) -> dict[str, Any]:
        """Return what this balancer has done, and how its endpoints are."""
        known = self._fleet.endpoints if self._fleet else {endpoint.name: endpoint for endpoint in self._settings.endpoints}
        return self._statistics.as_dict(known.values(), self._fleet, self._suspects())

    def usage(self) -> dict[str, Any]:
        """Return what this balancer has used, in all and by endpoint: `requests` (attempts), `input_tokens`, `output_tokens`,
        `cost` in USD, and `requests_of_unknown_cost`, whose price is not known and which the cost leaves out."""
        return self._statistics.usage()

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
        if self._beginning:
            await end_tasks(self._beginning)
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
                self._fleet = await self._start()
        return self._fleet

    async def _start(self) -> Fleet:
        settings = self._settings
        endpoints, url = settings.endpoints, settings.redis_url
        self._state = await redis_state(url, endpoints) if url else local_state(endpoints)
        fleet = Fleet(endpoints, self._state, settings.timeout, settings.transport, settings.routes)
        await fleet.__aenter__()
        strategy = BalancingStrategy(settings.strategy)
        self._sender = Sender(
            fleet,
            FailoverRules(strategy, settings.retry_count + 1, min(settings.timeout, PATIENCE), settings.fallback_on_failure),
            draining=self._draining,
            suspects=self._suspects,
            on_outcome=self._statistics.record,
            answers=AnswerCache(settings.cache) if settings.cache else None,
        )
        if settings.enable_health_check:
            self._checks = Checks(fleet, settings.health_check_interval)
            self._checks.start()
        return fleet
