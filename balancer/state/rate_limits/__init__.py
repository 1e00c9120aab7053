"""Rate limits: requests and tokens per minute, of one process (`local`) or shared through Redis (`shared`, `rate_limit.lua`)."""

from typing import Protocol

from balancer.endpoint import Endpoint
from balancer.outcome import Usage

__all__ = ["RateLimits"]


class RateLimits(Protocol):
    """Budgets of requests and tokens per minute."""

    def add(self, endpoint: Endpoint) -> None: ...
    def remove(self, endpoint: str) -> None: ...
    def is_limited(self, endpoint: str) -> bool: ...
    async def acquire(self, endpoint: str, tokens: int) -> None: ...
    def reconcile(self, endpoint: str, expected: int, usage: Usage) -> None: ...
