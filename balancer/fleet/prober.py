"""Probes endpoints: whether they are alive, which models they serve, and how much they have to do."""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress

from redis.exceptions import RedisError

from balancer.endpoint import Endpoint
from balancer.fleet.endpoint_connection import EndpointConnection
from balancer.fleet.streaming import failure_of
from balancer.fleet.watch import Signs
from balancer.http import HttpClient, HttpError
from balancer.outcome import Failure, FailureKind, Outcome
from balancer.providers import Check, EngineLoad
from balancer.routing.model_catalog import ModelCatalog
from balancer.state.shared_state import SharedState

__all__ = ["Prober"]

PROBE_TIMEOUT = 5.0

log = logging.getLogger(__name__)


class Prober:
    """Probes the endpoints of a fleet, and shares what it finds. `timeout` bounds a probe, as it does a request (seconds)."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        connections: Mapping[str, EndpointConnection],
        client: HttpClient,
        state: SharedState,
        catalog: ModelCatalog,
        timeout: float,
    ) -> None:
        self._endpoints = endpoints
        self._connections = connections
        self._client = client
        self._state = state
        self._health = state.health
        self._catalog = catalog
        self._timeout = timeout
        self.queued: dict[str, float] = {}
        """Requests that wait inside an endpoint, from any client, as its last check found; absent where it doesn't say."""

    async def check(self, endpoint: str) -> Outcome:
        """Ask an endpoint for its models, as the active health check does, and share both answers; read how much waits there.

        One that offers nothing to be asked for free is taken to be well. What one answers that has been removed meanwhile, or
        replaced, counts for nothing.
        """
        connection = self._connections[endpoint]
        outcome, body = Outcome(endpoint, 0.0), b""
        for check in connection.checks:
            outcome, body = await self._probe(connection, check)
            if not self._uses(connection):
                return outcome
            if outcome.failure is not None:
                await self._health.check_failed(outcome)
                return outcome
        await self._health.check_passed(endpoint)
        if outcome.status == 200 and self._uses(connection):
            connection.learn_server(body)
            await self._share_models(endpoint, connection.adapter.models(body))
        await self._read_load(endpoint)
        return outcome

    def _uses(self, connection: EndpointConnection) -> bool:
        name = connection.endpoint.name
        return name in self._endpoints and self._connections[name] is connection

    async def _probe(self, connection: EndpointConnection, check: Check, timeout: float = PROBE_TIMEOUT) -> tuple[Outcome, bytes]:
        name = connection.endpoint.name
        started = time.perf_counter()
        try:
            answer = await self._client.send(connection.check_request(check), b"", min(timeout, self._timeout))
        except HttpError as exc:
            return Outcome(name, time.perf_counter() - started, failure=failure_of(exc)), b""
        # An endpoint without a model list is alive all the same; only failures inside it and a refused key count.
        status = answer.status
        problem: Failure | None = None
        if status >= 500 or (status == 401 and connection.endpoint.api_key):
            kind = FailureKind.AUTHENTICATION if status == 401 else FailureKind.SERVER
            problem = Failure(kind, f"HTTP {status} for GET {check.path}", status)
        return Outcome(name, time.perf_counter() - started, status, failure=problem), answer.body

    async def _share_models(self, endpoint: str, names: list[str]) -> None:
        if names:
            self._catalog.learn(endpoint, names)
            with suppress(RedisError):  # the next check tells it again
                await self._state.share_models(endpoint, names)

    async def _read_load(self, endpoint: str) -> None:
        waiting = (await self.engine_load(endpoint)).waiting
        if waiting is None:
            self.queued.pop(endpoint, None)
        elif endpoint in self._endpoints:
            self.queued[endpoint] = waiting

    def signs(self) -> Mapping[str, Signs]:
        """Return when each endpoint last gave a sign of life, of those that can be asked whether they are alive."""
        return {name: each.signs for name, each in self._connections.items() if each.checks and name in self._endpoints}

    def usual_latency(self, endpoint: str) -> float:
        """Return the seconds that an answer of an endpoint takes on average, 0 before the first one."""
        return self._health[endpoint].latency or 0.0

    async def answers(self, endpoint: str, timeout: float) -> Failure | None:
        """Ask an endpoint for the least that it can answer; return what is wrong."""
        connection = self._connections[endpoint]
        outcome, _ = await self._probe(connection, connection.checks[0], timeout)
        return outcome.failure

    async def engine_load(self, endpoint: str, timeout: float = PROBE_TIMEOUT, *, is_bound: bool = True) -> EngineLoad:
        """Ask an endpoint how much it has to do, and how far it is; whose server it is as well if that is not known, but only
        where its limit `is_bound` by the requests in flight."""
        connection = self._connections.get(endpoint)
        if is_bound and connection is not None and not connection.has_shown_server:
            await self._ask_for_server(connection, timeout)
        if connection is None or connection.load_check is None:
            return EngineLoad()
        outcome, body = await self._probe(connection, connection.load_check, timeout)
        load = connection.load(body) if outcome.status == 200 else EngineLoad()
        if load.waiting is None:
            why = outcome.failure.message if outcome.failure else f"HTTP {outcome.status}"
            log.debug("%s does not say how much waits there: %s", endpoint, why)
        return load

    async def _ask_for_server(self, connection: EndpointConnection, timeout: float) -> None:
        assert connection.adapter.check is not None
        outcome, body = await self._probe(connection, connection.adapter.check, timeout)
        if outcome.failure is None:
            connection.learn_server(body)

    async def leave(self, endpoint: str, failure: Failure) -> None:
        """Abort all requests of this process at an endpoint, and open its circuit."""
        self._client.abort(endpoint, failure.message)
        await self._health.check_failed(Outcome(endpoint, 0.0, failure=failure))
