"""The routes of the API. Nothing in them is a single app's, and building them takes half a second of CPU, so that all apps of a
process share them."""

import functools

from fastapi import APIRouter, Depends
from starlette.routing import BaseRoute

from producer_api.access import keys
from producer_api.access.callers import admin_only
from producer_api.files import batches, files
from producer_api.files.wire import ErrorEnvelope
from producer_api.gateway import chat, kinds, models, sessions
from producer_api.http.direct_routes import Handler
from producer_api.jobs import estimates, jobs
from producer_api.messages import batches as message_batches
from producer_api.messages import routes as messages
from producer_api.responses import routes as responses
from producer_api.system import fleet, metrics, system, usage

__all__ = ["all_routes", "direct_routes"]

OPENAI_PREFIXES = ("/v1", "")
"""OpenAI's paths stand with and without the version; the documentation shows the first."""


def direct_routes() -> dict[str, Handler]:
    """Return the handlers of the most frequent requests by path; FastAPI's own routes document them."""
    found = {"/chat/completions": chat.chat_completions, **kinds.HANDLERS}
    return {prefix + path: handler for prefix in OPENAI_PREFIXES for path, handler in found.items()}


@functools.cache
def all_routes() -> tuple[BaseRoute, ...]:
    """Return the routes in the order in which they are tried."""
    api = APIRouter(
        redirect_slashes=False,
        responses={"default": {"model": ErrorEnvelope, "description": "Every error has this shape."}},
    )
    for prefix in OPENAI_PREFIXES:
        for module in (chat, kinds, responses, messages, message_batches, files, batches, models):  # the most frequent first
            api.include_router(module.router, prefix=prefix, include_in_schema=bool(prefix))
    ours = APIRouter(prefix="/api/v1")
    ours.include_router(jobs.router)
    ours.include_router(estimates.router)
    ours.include_router(system.router, dependencies=[Depends(admin_only)])
    ours.include_router(fleet.router, dependencies=[Depends(admin_only)])
    ours.include_router(keys.router, dependencies=[Depends(admin_only)])
    ours.include_router(sessions.router)
    ours.include_router(usage.router)
    api.include_router(ours)
    api.include_router(system.health_router)
    # Both tell of all keys' jobs.
    api.include_router(metrics.router, dependencies=[Depends(admin_only)])
    return tuple(api.routes)
