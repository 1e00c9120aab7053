"""Rate limits of one process: token buckets for requests and tokens per minute."""

import asyncio
import math
import time
from collections.abc import Iterable

from balancer.endpoint import Endpoint
from balancer.outcome import Usage

__all__ = ["Bucket", "LocalRateLimiter"]


class Bucket:
    """A token bucket of a second's worth (at least one), which fills so that no minute exceeds `per_minute`.

    The same arithmetic as lua/rate_limit.lua. A take may leave it in debt; the next one waits until that is paid.
    """

    def __init__(self, per_minute: float, now: float) -> None:
        self.size = max(1.0, per_minute / 60)
        self.rate = (per_minute - self.size) / 60 if per_minute > self.size else per_minute / 60
        self.level = self.size
        self._at = now

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` can be taken, 0 for at once; a larger amount than the bucket needs a full one."""
        self.level = min(self.size, self.level + max(0.0, now - self._at) * self.rate)
        self._at = now
        missing = min(amount, self.size) - self.level
        return missing / self.rate if missing > 1e-9 else 0.0

    def take(self, amount: float) -> None:
        """Take `amount`, even if that leaves a debt."""
        self.level -= amount


class LocalRateLimiter:
    """The rate limits of all endpoints."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._lanes: dict[str, _Lane] = {}
        for endpoint in endpoints:
            self.add(endpoint)

    def add(self, endpoint: Endpoint) -> None:
        """Begin to keep an endpoint's rate limit."""
        if endpoint.rpm or endpoint.tpm:
            self._lanes[endpoint.name] = _Lane(endpoint)

    def remove(self, endpoint: str) -> None:
        """Forget an endpoint."""
        self._lanes.pop(endpoint, None)

    def is_limited(self, endpoint: str) -> bool:
        """Whether the endpoint has a rate limit at all."""
        return endpoint in self._lanes

    async def acquire(self, endpoint: str, tokens: int) -> None:
        """Wait until a request that is expected to need `tokens` may go."""
        lane = self._lanes.get(endpoint)
        if lane is None:
            return
        async with lane.turn:
            while pause := lane.wait(tokens):
                await asyncio.sleep(pause)
            lane.take(tokens)

    def reconcile(self, endpoint: str, expected: int, usage: Usage) -> None:
        """Correct the token limit by what a request really used."""
        lane = self._lanes.get(endpoint)
        if lane is not None and lane.tokens is not None:
            lane.tokens.take(usage.prompt + usage.completion - expected)


class _Lane:
    def __init__(self, endpoint: Endpoint) -> None:
        now = time.monotonic()
        self.requests = Bucket(endpoint.rpm, now) if endpoint.rpm else None
        self.tokens = Bucket(endpoint.tpm, now) if endpoint.tpm else None
        self.turn = asyncio.Lock()

    def wait(self, tokens: int) -> float:
        now = time.monotonic()
        waits = [self.requests.wait(1, now)] if self.requests else []
        # Whatever a request needs, it goes as soon as nothing is owed: its tokens are a guess.
        waits += [self.tokens.wait(min(tokens, math.ulp(1.0)), now)] if self.tokens else []
        return max(waits, default=0.0)

    def take(self, tokens: int) -> None:
        if self.requests:
            self.requests.take(1)
        if self.tokens:
            self.tokens.take(tokens)
