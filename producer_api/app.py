"""Composes the FastAPI app: node, routes, middleware."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp

from balancer.configuration import Configuration
from balancer.fleet.answer_cache import AnswerCache
from balancer.fleet.checks import Checks
from balancer.fleet.prompt_prefixes import PromptPrefixes
from balancer.fleet.sending import Sender
from balancer.routing import PATIENCE, FailoverRules
from jobs.access import Access
from jobs.access.exposure import Door
from jobs.access.memory import keys_were_seen, remember_keys
from jobs.dispatch.queueing import Wake
from jobs.node import open_node
from producer_api.access.callers import add_access_handlers
from producer_api.access.key_auth import KeyAuth
from producer_api.context import ApiContext, Limits
from producer_api.gateway.chat_errors import add_chat_error_handlers
from producer_api.http.body_timeout import BodyTimeout
from producer_api.http.direct_routes import DirectRoutes
from producer_api.http.documentation import add_documentation
from producer_api.http.errors import add_error_handlers
from producer_api.http.openapi import describe
from producer_api.http.request_id import RequestId
from producer_api.http.security_headers import SecurityHeaders
from producer_api.jobs.cancelling import Cancellations
from producer_api.messages.errors import AnthropicErrors
from producer_api.routes import all_routes, direct_routes

__all__ = ["create_app"]

QUEUE_WAIT = 30.0
"""Seconds that an interactive request waits for a slot before it is answered 429."""


def create_app(
    configuration: Configuration, redis_url: str, wake: Wake, limits: Limits | None = None, door: Door | None = None
) -> FastAPI:
    """Return the app. Its lifespan opens a node, and raises SharedStateUnavailable if Redis does not answer.

    `wake` publishes the shards of jobs. `door` says who is let in while there is no API key at all.
    `app.state.stopping` is an event; set it when the server is asked to end, and streams that have no end of their own end.
    """
    stopping = asyncio.Event()
    door = door or Door(configuration.require_keys)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_node(configuration, redis_url, wake, interactive=True) as node:
            cancellations = Cancellations(node.service)
            checks = Checks(node.fleet, configuration.health_check.interval)
            prefixes = PromptPrefixes() if configuration.prefix_affinity else None
            sender = Sender(
                node.fleet,
                _rules(configuration),
                QUEUE_WAIT,
                draining=node.fleet.draining,
                suspects=lambda: checks.suspects,
                prefixes=prefixes,
                answers=AnswerCache(configuration.cache) if configuration.cache else None,
            )
            if configuration.health_check.enabled:
                # The workers' janitor checks too, where there are workers; here it saves callers from being the probes.
                checks.start()
            seen = await keys_were_seen(node.objects)
            access = Access(
                node.redis, configuration.api_keys, door.is_open and not seen, on_keys_seen=remember_keys(node.objects)
            )
            app.state.context = ApiContext(node, limits or Limits(), stopping, cancellations, sender, access)
            try:
                yield
            finally:
                await checks.aclose()
                await cancellations.aclose()
                await access.aclose()

    app = _App(
        title="Roadbalancer",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        # Ours are api_roadbalancer.telemetry.otlp's; whether there are others would be looked up for each request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.door = door
    app.state.stopping = stopping
    app.router.routes.extend(all_routes())
    add_documentation(app)
    add_error_handlers(app)
    add_access_handlers(app)
    add_chat_error_handlers(app)
    describe(app)
    return app


class _App(FastAPI):
    """Has our middleware around FastAPI's own, through which the most frequent requests need not go."""

    door: Door

    def build_middleware_stack(self) -> ASGIApp:
        """Return what serves requests."""
        served: ASGIApp = DirectRoutes(super().build_middleware_stack(), direct_routes())
        return SecurityHeaders(RequestId(AnthropicErrors(KeyAuth(BodyTimeout(served), self.door))))


def _rules(configuration: Configuration) -> FailoverRules:
    return FailoverRules(
        configuration.strategy,
        configuration.retry_count + 1,
        min(configuration.timeout, PATIENCE),
        configuration.fallback_on_failure,
        spill=True,
    )
