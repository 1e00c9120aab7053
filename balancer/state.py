"""What processes share, or what one keeps for itself: slots, health, budgets and model lists behind one small interface."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from redis.exceptions import RedisError

from balancer import keys
from balancer.endpoint import Endpoint
from balancer.errors import SharedStateUnavailable
from balancer.fair_queue import ONE_FLOW, Flow
from balancer.health import Health, HealthBoard, HealthPolicy
from balancer.local import LocalHealth, LocalPacer, LocalSlots
from balancer.outcome import Outcome, Usage
from balancer.pacing import Pacer
from balancer.process import process_name
from balancer.redis_connection import AsyncRedis, check_redis, open_redis
from balancer.scripts import Scripts
from balancer.slots import SharedSlots
from balancer.usage import UsageMeter

__all__ = ["HealthView", "PacerView", "SharedState", "SlotsView", "UsageView", "local_state", "redis_state", "state_on"]


class SlotsView(Protocol):
    """The right to have requests in flight."""

    def start(self) -> None: ...
    async def refresh(self) -> None: ...
    async def aclose(self) -> None: ...
    def add(self, endpoint: Endpoint) -> None: ...
    def remove(self, endpoint: str) -> None: ...
    def announce(self, endpoint: str, change: int) -> None: ...
    def try_acquire(self, endpoint: str, flow: Flow = ONE_FLOW) -> bool: ...
    async def acquire(self, endpoint: str, flow: Flow = ONE_FLOW) -> bool: ...
    def has_lapsed(self, endpoint: str) -> bool: ...
    def release(self, endpoint: str, flow: Flow = ONE_FLOW) -> None: ...
    def turn_away(self, endpoint: str) -> None: ...
    def in_use(self, endpoint: str) -> int: ...
    def load(self, endpoint: str) -> int: ...


class HealthView(Protocol):
    """What is known of the endpoints' health."""

    def start(self) -> None: ...
    async def aclose(self) -> None: ...
    async def refresh(self) -> None: ...
    def add(self, endpoint: str) -> None: ...
    def remove(self, endpoint: str) -> None: ...
    def __getitem__(self, endpoint: str) -> Health: ...
    def note(self, outcome: Outcome) -> None: ...
    async def check_passed(self, endpoint: str) -> None: ...
    async def check_failed(self, outcome: Outcome) -> None: ...


class PacerView(Protocol):
    """Budgets of requests and tokens per minute."""

    def add(self, endpoint: Endpoint) -> None: ...
    def remove(self, endpoint: str) -> None: ...
    def is_paced(self, endpoint: str) -> bool: ...
    async def take(self, endpoint: str, tokens: int) -> None: ...
    def settle(self, endpoint: str, expected: int, usage: Usage) -> None: ...


class UsageView(Protocol):
    """The account of what has been used."""

    def start(self) -> None: ...
    async def aclose(self) -> None: ...
    def note(self, endpoint: Endpoint, outcome: Outcome, owner: str) -> None: ...


@dataclass(slots=True)
class SharedState:
    """All of it for one process. `redis` is None where nothing is shared; then there is no account of usage either."""

    slots: SlotsView
    health: HealthView
    pacer: PacerView
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
        """Return which models endpoints listed when they were last asked, by whomever."""
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
                await self.redis.aclose(close_connection_pool=True)


def local_state(endpoints: Sequence[Endpoint], policy: HealthPolicy | None = None) -> SharedState:
    """Return state that is this process's alone."""
    slots = LocalSlots(endpoints)
    return SharedState(slots, LocalHealth([e.name for e in endpoints], policy, slots.turn_away), LocalPacer(endpoints))


def state_on(
    redis: AsyncRedis, process: str, endpoints: Sequence[Endpoint], policy: HealthPolicy | None = None, interactive: bool = False
) -> SharedState:
    """Return state that is shared through `redis`. With `interactive`, it goes on alone while Redis is away; else it waits."""
    scripts = Scripts(redis, Path(__file__).parent / "lua")
    slots = SharedSlots(scripts, process, endpoints, interactive)
    names = [endpoint.name for endpoint in endpoints]
    alone = LocalHealth(names, policy, slots.turn_away) if interactive else None
    health = HealthBoard(redis, scripts, names, policy, slots.turn_away, alone)
    pacer = Pacer(scripts, endpoints, LocalPacer(()) if interactive else None)
    return SharedState(slots, health, pacer, UsageMeter(scripts), redis)


async def redis_state(url: str, endpoints: Sequence[Endpoint]) -> SharedState:
    """Return state shared through the Redis at `url`, for a program of one's own. Raises SharedStateUnavailable."""
    redis = open_redis(url, retries=0, socket_timeout=2.0)
    try:
        await check_redis(redis, url)
    except SharedStateUnavailable:
        await redis.aclose(close_connection_pool=True)
        raise
    state = state_on(redis, process_name(), endpoints, interactive=True)
    state.owns_redis = True
    return state
