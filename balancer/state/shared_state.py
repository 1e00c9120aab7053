"""The state of a fleet, shared through Redis or local to one process, behind one interface."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from redis.exceptions import RedisError

from balancer.endpoint import Endpoint
from balancer.errors import SharedStateUnavailable
from balancer.outcome import Outcome
from balancer.runtime.process import process_name
from balancer.state import keys
from balancer.state.concurrency import LearnedLimits
from balancer.state.concurrency.local import LocalLimitStore
from balancer.state.concurrency.shared import RedisLimitStore
from balancer.state.health import EndpointHealth, HealthPolicy
from balancer.state.health.local import LocalHealth
from balancer.state.health.shared import SharedHealth
from balancer.state.rate_limits import RateLimits
from balancer.state.rate_limits.local import LocalRateLimiter
from balancer.state.rate_limits.shared import RateLimiter
from balancer.state.redis_connection import AsyncRedis, check_redis, open_redis
from balancer.state.scripts import Scripts
from balancer.state.slots import Slots
from balancer.state.slots.local import LocalSlots
from balancer.state.slots.shared import SharedSlots
from balancer.usage.meter import UsageMeter

__all__ = ["SCRIPT_FOLDERS", "SharedState", "UsageView", "local_state", "redis_state", "state_on"]


class UsageView(Protocol):
    """The account of what has been used."""

    def start(self) -> None: ...
    async def aclose(self) -> None: ...
    def record(self, endpoint: Endpoint, outcome: Outcome, owner: str, source: str = "") -> None: ...


SCRIPT_FOLDERS = tuple(Path(__file__).parent / folder for folder in ("slots", "health", "rate_limits", "concurrency", "../usage"))
"""Where the Lua scripts are: beside the code that runs them."""


@dataclass(slots=True)
class SharedState:
    """All of it for one process. `redis` is None where nothing is shared; then there is no account of usage either."""

    slots: Slots
    health: EndpointHealth
    rate_limits: RateLimits
    limits: LearnedLimits
    usage: UsageView | None = None
    redis: AsyncRedis | None = None
    owns_redis: bool = False

    async def share_models(self, endpoint: str, models: Sequence[str]) -> None:
        """Tell the others which models an endpoint lists."""
        if self.redis is None:
            return
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.delete(keys.models(endpoint))
            pipe.sadd(keys.models(endpoint), *models)
            await pipe.execute()

    async def listed_models(self, endpoints: Sequence[str]) -> dict[str, frozenset[str]]:
        """Return which models endpoints listed when any process last asked them."""
        if self.redis is None:
            return {}
        async with self.redis.pipeline(transaction=False) as pipe:
            for name in endpoints:
                pipe.smembers(keys.models(name))
            answers = await pipe.execute()
        return {n: frozenset(m.decode() for m in found) for n, found in zip(endpoints, answers, strict=True)}

    async def aclose(self) -> None:
        """Close the connection if it was opened here."""
        if self.redis is not None and self.owns_redis:
            with suppress(RedisError):
                await self.redis.aclose()


def local_state(endpoints: Sequence[Endpoint], policy: HealthPolicy | None = None) -> SharedState:
    """Return state that is this process's alone."""
    slots = LocalSlots(endpoints)
    health = LocalHealth([e.name for e in endpoints], policy, slots.turn_away)
    limits = LearnedLimits(LocalLimitStore(), endpoints, slots.resize)
    return SharedState(slots, health, LocalRateLimiter(endpoints), limits)


def state_on(
    redis: AsyncRedis, process: str, endpoints: Sequence[Endpoint], policy: HealthPolicy | None = None, interactive: bool = False
) -> SharedState:
    """Return state that is shared through `redis`. With `interactive`, it goes on alone while Redis is away; else it waits."""
    scripts = Scripts(redis, *SCRIPT_FOLDERS)
    slots = SharedSlots(scripts, process, endpoints, interactive)
    names = [endpoint.name for endpoint in endpoints]
    alone = LocalHealth(names, policy, slots.turn_away) if interactive else None
    health = SharedHealth(redis, scripts, names, policy, slots.turn_away, alone)
    rate_limits = RateLimiter(scripts, endpoints, LocalRateLimiter(()) if interactive else None)
    limits = LearnedLimits(RedisLimitStore(scripts), endpoints, slots.resize, interactive)
    return SharedState(slots, health, rate_limits, limits, UsageMeter(scripts), redis)


async def redis_state(url: str, endpoints: Sequence[Endpoint]) -> SharedState:
    """Return state shared through the Redis at `url`, for a program of one's own. Raises SharedStateUnavailable."""
    redis = open_redis(url, retries=0, socket_timeout=2.0)
    try:
        await check_redis(redis, url)
    except SharedStateUnavailable:
        await redis.aclose()
        raise
    state = state_on(redis, process_name(), endpoints, interactive=True)
    state.owns_redis = True
    return state
