"""Rate limits shared by all processes through Redis: requests and tokens per minute.

Requests are taken from the rate limit in Redis in small blocks, so that a fast endpoint costs far less than a round trip for
each; an endpoint without `rpm` and `tpm` costs nothing.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from redis.exceptions import RedisError

from balancer.endpoint import Endpoint
from balancer.outcome import Usage
from balancer.state import keys
from balancer.state.rate_limits.local import LocalRateLimiter
from balancer.state.scripts import Scripts
from balancer.usage.token_guess import prompt_tokens

__all__ = ["RateLimiter", "expected_tokens"]

BLOCK_SECONDS = 0.1
"""How much of the limit one process takes at a time."""
LONGEST_WAIT = 2.0
"""Seconds between looking again, however long the limit says to wait: it may have been corrected."""
MOST_COMPLETION = 128 * 1024
"""Tokens beyond which a request's limit for its answer is not believed: it would use up the limit of everybody."""
EXPECTED_COMPLETION = 256
"""Tokens that an answer is expected to have when the request sets no limit."""


class RateLimiter:
    """The rate limits of all endpoints, for one process."""

    def __init__(self, scripts: Scripts, endpoints: Iterable[Endpoint], fallback: LocalRateLimiter | None = None) -> None:
        """With a `fallback`, that one paces while Redis is away; without, requests fail with its error."""
        self._scripts = scripts
        self._fallback = fallback
        self._lanes: dict[str, _Lane] = {}
        for endpoint in endpoints:
            self.add(endpoint)

    def add(self, endpoint: Endpoint) -> None:
        """Begin to keep an endpoint's rate limit."""
        if endpoint.rpm or endpoint.tpm:
            self._lanes[endpoint.name] = _Lane(endpoint)
        if self._fallback:
            self._fallback.add(endpoint)

    def remove(self, endpoint: str) -> None:
        """Forget an endpoint."""
        self._lanes.pop(endpoint, None)
        if self._fallback:
            self._fallback.remove(endpoint)

    def is_limited(self, endpoint: str) -> bool:
        """Whether the endpoint has a rate limit at all."""
        return endpoint in self._lanes

    async def acquire(self, endpoint: str, tokens: int) -> None:
        """Wait until a request that is expected to need `tokens` may go."""
        lane = self._lanes.get(endpoint)
        if lane is None:
            return
        try:
            async with lane.turn:
                while lane.prepaid < 1:
                    await self._refill(lane, max(1, tokens))
                lane.prepaid -= 1
        except RedisError:
            if self._fallback is None:
                raise
            await self._fallback.acquire(endpoint, tokens)

    def reconcile(self, endpoint: str, expected: int, usage: Usage) -> None:
        """Correct the token limit by what a request really used; it is sent with the next question."""
        lane = self._lanes.get(endpoint)
        if lane is not None and lane.endpoint.tpm:
            lane.correction += usage.prompt + usage.completion - expected

    async def _refill(self, lane: "_Lane", tokens: int) -> None:
        correction, lane.correction = lane.correction, 0
        endpoint = lane.endpoint
        args = (endpoint.rpm or 0, endpoint.tpm or 0, lane.block, tokens, correction)
        try:
            granted, wait_ms = await self._scripts.run("rate_limit", (keys.rate_limit(endpoint.name),), args)
        except BaseException:
            lane.correction += correction
            raise
        lane.prepaid += int(granted)
        if not granted:
            await asyncio.sleep(min(LONGEST_WAIT, max(0.005, int(wait_ms) / 1000)))


class _Lane:
    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.prepaid = 0
        self.correction = 0
        self.turn = asyncio.Lock()
        # Tokens differ from request to request, so with a token limit each request asks for itself.
        self.block = 1 if endpoint.tpm else max(1, int((endpoint.rpm or 0) / 60 * BLOCK_SECONDS))


def expected_tokens(body: Mapping[str, Any]) -> int:
    """Estimate the sum of the tokens that a request will use."""
    usage = expected_usage(body)
    return usage.prompt + usage.completion


def expected_usage(body: Mapping[str, Any]) -> Usage:
    """Estimate what a request will use: the tokens of its prompt, and its limit for the answer."""
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    answer = min(limit, MOST_COMPLETION) if isinstance(limit, int) and limit > 0 else EXPECTED_COMPLETION
    return Usage(prompt_tokens(body), answer)
