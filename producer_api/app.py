"""Composes the app: the node that it works with, the routes, and what stands around them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from balancer.configuration import Configuration
from jobs.node import open_node
from producer_api import batches, files, jobs, metrics, models, system
from producer_api.auth import BearerAuth
from producer_api.cancelling import Cancellations
from producer_api.context import ApiContext, Limits
from producer_api.errors import add_error_handlers
from producer_api.framing import Framing
from producer_api.wire import ErrorEnvelope

__all__ = ["create_app"]

OPENAI_PREFIXES = ("/v1", "")
"""OpenAI's paths stand with and without the version; the documentation shows the first."""


def create_app(configuration: Configuration, redis_url: str, limits: Limits | None = None) -> FastAPI:
    """Return the app. Its lifespan opens a node, and raises SharedStateUnavailable if Redis does not answer.

    `app.state.stopping` is an event; set it when the server is asked to end, and streams that have no end of their own end.
    """
    stopping = asyncio.Event()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_node(configuration, redis_url) as node:
            cancellations = Cancellations(node.service)
            app.state.context = ApiContext(node, limits or Limits(), stopping, cancellations)
            try:
                yield
            finally:
                await cancellations.aclose()

    app = FastAPI(
        title="Roadbalancer",
        description="Bulk LLM generation over a fleet of endpoints, with OpenAI's files and batches API.",
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
        responses={"default": {"model": ErrorEnvelope, "description": "Every error has this shape."}},
    )
    app.state.stopping = stopping
    _add_routes(app)
    add_error_handlers(app)
    if configuration.api_keys:
        app.add_middleware(BearerAuth, keys=configuration.api_keys)
    app.add_middleware(Framing)
    return app


def _add_routes(app: FastAPI) -> None:
    for prefix in OPENAI_PREFIXES:
        for module in (files, batches, models):
            app.include_router(module.router, prefix=prefix, include_in_schema=bool(prefix))
    ours = APIRouter(prefix="/api/v1")
    ours.include_router(jobs.router)
    ours.include_router(system.router)
    app.include_router(ours)
    app.include_router(system.health_router)
    app.include_router(metrics.router)
