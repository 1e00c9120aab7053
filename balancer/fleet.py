"""The fleet as one process uses it: sends requests, and knows which endpoint can take the next one."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import orjson

from balancer import keys
from balancer.endpoint import Endpoint
from balancer.health import Circuit, HealthBoard, HealthPolicy
from balancer.outcome import Failure, FailureKind, Outcome
from balancer.pacing import Pacer
from balancer.providers import Adapter, adapter_for
from balancer.redis_connection import AsyncRedis
from balancer.scripts import Scripts
from balancer.slots import SharedSlots
from balancer.transport import FastTransport, whole_body

__all__ = ["ANY_MODEL", "Fleet"]

ANY_MODEL = "*"
"""A model list with this entry takes every name."""
MODELS_TIMEOUT = 5.0
PROBES = 2
"""Requests that each process sends at once to find out whether a failing endpoint is well again."""


class Fleet:
    """All endpoints, with the slots, health and budgets that all processes share through `redis`.

    Use as an async context manager. `process` names this process among the others.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        redis: AsyncRedis,
        process: str,
        timeout: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
        health_policy: HealthPolicy | None = None,
    ) -> None:
        scripts = Scripts(redis, Path(__file__).parent / "lua")
        self._redis = redis
        self._timeout = timeout
        self._transport = transport or FastTransport()
        self._lines = {e.name: _Line(e, adapter_for(e.provider), timeout) for e in endpoints}
        self._listed: dict[str, frozenset[str]] = {}
        self.endpoints = {e.name: e for e in endpoints}
        self.slots = SharedSlots(scripts, process, endpoints)
        self.health = HealthBoard(redis, scripts, self.endpoints, health_policy, self.slots.turn_away)
        self.pacer = Pacer(scripts, endpoints)

    async def __aenter__(self) -> "Fleet":
        self.slots.start()
        self.health.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.slots.aclose()
        await self.health.aclose()
        await self._transport.aclose()

    async def send(self, endpoint: str, path: str, body: Mapping[str, Any]) -> Outcome:
        """Send one request and say what came of it; never raises for anything that the endpoint does.

        The caller holds a slot. Health is told.
        """
        line = self._lines[endpoint]
        call = line.adapter.call(line.endpoint, path, body)
        body_stream = httpx.ByteStream(call.body)
        request = httpx.Request("POST", line.url(call.path), headers=line.headers, stream=body_stream, extensions=line.extensions)
        outcome = await self._outcome(line, request)
        self.health.note(outcome)
        return outcome

    async def _outcome(self, line: "_Line", request: httpx.Request) -> Outcome:
        name = line.endpoint.name
        started = time.perf_counter()
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TimeoutException as exc:
            failure = Failure(FailureKind.TIMEOUT, _timeout_message(exc, self._timeout))
            return Outcome(name, time.perf_counter() - started, failure=failure)
        except httpx.HTTPError as exc:
            failure = Failure(FailureKind.CONNECTION, str(exc) or type(exc).__name__)
            return Outcome(name, time.perf_counter() - started, failure=failure)
        answer = line.adapter.answer(response.status_code, response.headers, await whole_body(response))
        return Outcome(
            endpoint=name,
            latency=time.perf_counter() - started,
            status=response.status_code,
            body=answer.body,
            request_id=response.headers.get("x-request-id", ""),
            usage=answer.usage,
            failure=answer.failure,
        )

    async def check(self, endpoint: str) -> Outcome:
        """Ask an endpoint for its models, as the active health check does, and share both answers."""
        line = self._lines[endpoint]
        request = httpx.Request(
            "GET", line.url("/models"), headers=line.headers, extensions={"timeout": {"read": MODELS_TIMEOUT}}
        )
        started = time.perf_counter()
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.HTTPError as exc:
            kind = FailureKind.TIMEOUT if isinstance(exc, httpx.TimeoutException) else FailureKind.CONNECTION
            failure = Failure(kind, str(exc) or type(exc).__name__)
            outcome = Outcome(endpoint, time.perf_counter() - started, failure=failure)
            await self.health.check_failed(outcome)
            return outcome
        # An endpoint without a model list is alive all the same; only failures inside it count.
        if response.status_code >= 500:
            failure = Failure(FailureKind.SERVER, f"HTTP {response.status_code} for its model list")
            outcome = Outcome(endpoint, time.perf_counter() - started, response.status_code, failure=failure)
            await self.health.check_failed(outcome)
            return outcome
        if response.status_code == 200:
            await self._share_models(endpoint, await whole_body(response))
        await self.health.check_passed(endpoint)
        return Outcome(endpoint, time.perf_counter() - started, response.status_code)

    async def _share_models(self, endpoint: str, body: bytes) -> None:
        names = model_ids(body)
        if not names:
            return
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(keys.models(endpoint))
            pipe.sadd(keys.models(endpoint), *names)
            await pipe.execute()

    async def refresh_models(self) -> None:
        """Read which models the endpoints without a list of their own serve, as the last check found."""
        names = [n for n, e in self.endpoints.items() if not e.models]
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.smembers(keys.models(name))
            answers = await pipe.execute()
        self._listed = {n: frozenset(m.decode() for m in found) for n, found in zip(names, answers, strict=True)}

    def may_take(self, endpoint: str) -> bool:
        """Whether an endpoint should be sent another request: it is usable, and if it is being tried out, barely used."""
        health = self.health[endpoint]
        if health.circuit is Circuit.HALF_OPEN and self.slots.in_use(endpoint) >= PROBES:
            return False
        return health.usable

    def models(self) -> dict[str, list[str]]:
        """Return every model that is known of, with the endpoints that serve it."""
        served: dict[str, list[str]] = {}
        for name, endpoint in self.endpoints.items():
            for model in endpoint.models or sorted(self._listed.get(name, frozenset())):
                served.setdefault(model, []).append(name)
        return served

    def serving(self, model: str | None) -> list[str]:
        """Return the endpoints that serve `model`. One that has not said what it serves may serve anything."""
        return [name for name in self.endpoints if self._serves(name, model)]

    def _serves(self, name: str, model: str | None) -> bool:
        configured = self.endpoints[name].models
        known: Iterable[str] = configured or self._listed.get(name, frozenset())
        return model is None or not known or model in known or ANY_MODEL in known


class _Line:
    """What never changes between two requests to an endpoint, made once."""

    def __init__(self, endpoint: Endpoint, adapter: Adapter, timeout: float) -> None:
        self.endpoint = endpoint
        self.adapter = adapter
        self.headers = httpx.Headers(adapter.headers(endpoint))
        self.extensions = {"timeout": {"read": timeout}}
        self._urls: dict[str, httpx.URL] = {}

    def url(self, path: str) -> httpx.URL:
        if path not in self._urls:
            self._urls[path] = httpx.URL(self.endpoint.url + path)
        return self._urls[path]


def model_ids(body: bytes) -> list[str]:
    """Read the ids of an OpenAI model list; anything else has none."""
    try:
        listing = orjson.loads(body)
    except orjson.JSONDecodeError:
        return []
    entries = listing.get("data") if isinstance(listing, dict) else None
    ids = [entry.get("id") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [name.removeprefix("models/") for name in ids if isinstance(name, str)]


def _timeout_message(error: httpx.TimeoutException, timeout: float) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "could not connect in time"
    return f"no whole answer within {timeout:g} s"
