"""Sends single requests to an endpoint of a fleet, each in a slot."""

from collections.abc import Mapping
from typing import Any

from balancer.fleet.fleet import Fleet
from balancer.fleet.slot import Slot
from balancer.outcome import Outcome
from balancer.results import ChatChunk

__all__ = ["chat", "streamed_chat"]

PATH = "/chat/completions"


async def chat(fleet: Fleet, endpoint: str, body: Mapping[str, Any], owner: str = "", api_key: str | None = None) -> Outcome:
    """Send a chat and return what came of it."""
    with await slot_at(fleet, endpoint, body) as slot:
        return await fleet.send(slot, PATH, body, owner, api_key)


async def streamed_chat(fleet: Fleet, endpoint: str, body: Mapping[str, Any], owner: str = "") -> tuple[list[ChatChunk], Outcome]:
    """Return the chunks of a streamed chat, and what came of it."""
    ends: list[Outcome] = []
    with await slot_at(fleet, endpoint, body) as slot:
        chunks = [chunk async for chunk in fleet.stream(slot, PATH, {**body, "stream": True}, ends.append, owner)]
    (outcome,) = ends
    return chunks, outcome


async def slot_at(fleet: Fleet, endpoint: str, body: Mapping[str, Any]) -> Slot:
    slot = await fleet.slot(endpoint, body)
    assert slot is not None
    return slot
