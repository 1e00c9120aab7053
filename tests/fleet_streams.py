"""Reads a stream of a fleet to its end."""

from collections.abc import Mapping
from typing import Any

from balancer.fleet import Fleet
from balancer.outcome import Outcome
from balancer.results import ChatChunk

__all__ = ["streamed_chat"]


async def streamed_chat(fleet: Fleet, endpoint: str, body: Mapping[str, Any], owner: str = "") -> tuple[list[ChatChunk], Outcome]:
    """Return the chunks of a streamed_chat chat, and what came of it."""
    ends: list[Outcome] = []
    chunks = [chunk async for chunk in fleet.stream(endpoint, "/chat/completions", {**body, "stream": True}, ends.append, owner)]
    (outcome,) = ends
    return chunks, outcome
