"""The context of all routes, created when the app starts."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from balancer.fleet.sending import Sender
from jobs.access import Access
from jobs.node import Node
from producer_api.jobs.cancelling import Cancellations

__all__ = ["Api", "ApiContext", "Limits", "context_of"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may bring, in bytes."""

    upload_bytes: int = 8 * 1024**3
    json_bytes: int = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class ApiContext:
    """This process's node and what belongs to the API alone. `stopping` is set when the server is asked to end."""

    node: Node
    limits: Limits
    stopping: asyncio.Event
    cancellations: Cancellations
    sender: Sender
    access: Access
    started_at: float = field(default_factory=time.time)


def context_of(request: Request) -> ApiContext:
    """Return what the app of a request works with."""
    context: ApiContext = request.app.state.context
    return context


async def _context(request: Request) -> ApiContext:
    # Asynchronous: FastAPI sends every other dependency through a thread, for each request.
    return context_of(request)


Api = Annotated[ApiContext, Depends(_context)]
