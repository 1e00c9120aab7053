"""A caller's visit: whether a request may come in, and what is put down on its account when it leaves."""

from typing import Any, Self

from fastapi import Request

from balancer.outcome import Outcome
from producer_api.context import ApiContext

__all__ = ["Visit", "visit"]


class Visit:
    """One request of one caller. Use as an async context manager, or call `leave` once."""

    def __init__(self, owner: str = "") -> None:
        self.owner = owner
        self.headers: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.leave()

    def spent(self, outcome: Outcome) -> None:
        """Put an answer's tokens and cost on the account."""

    async def leave(self) -> None:
        """Give back what the visit holds."""


async def visit(api: ApiContext, request: Request, body: dict[str, Any]) -> Visit:
    """Let a request in. Raises ApiError (403, 429)."""
    return Visit()
