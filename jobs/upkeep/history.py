"""The last hour of each endpoint, in samples: what the plots of a console are drawn of."""

import time
from dataclasses import asdict, dataclass

import orjson

from balancer.fleet.fleet import Fleet
from balancer.state.redis_connection import AsyncRedis
from balancer.state.slots.shared import requests_in_flight
from jobs.storage import keys

__all__ = ["SAMPLE_EVERY", "Sample", "history_of", "take_samples"]

SAMPLE_EVERY = 10.0
"""Seconds between samples."""
KEPT = 360
"""Samples of each endpoint: an hour."""
FORGOTTEN_AFTER = 7200
"""Seconds after the last sample."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One endpoint at one time (s since the epoch): requests in flight and how many may be, the requests that were answered and
    that failed so far, and the moving average of the latency (s)."""

    at: int
    in_flight: int
    limit: int
    ok: int
    failed: int
    latency: float | None


async def take_samples(redis: AsyncRedis, fleet: Fleet) -> None:
    """Keep how each endpoint is now. Raises RedisError."""
    now = int(time.time())
    for name in list(fleet.endpoints):
        health = fleet.health[name]
        in_flight = await requests_in_flight(redis, name)
        if name not in fleet.endpoints:
            continue
        sample = Sample(now, in_flight, fleet.limits[name].value, health.completed, health.failed, health.latency)
        async with redis.pipeline(transaction=False) as pipe:
            pipe.lpush(keys.history(name), orjson.dumps(asdict(sample)))
            pipe.ltrim(keys.history(name), 0, KEPT - 1)
            pipe.expire(keys.history(name), FORGOTTEN_AFTER)
            await pipe.execute()


async def history_of(redis: AsyncRedis, endpoint: str) -> list[Sample]:
    """Return the samples of an endpoint, oldest first. Raises RedisError."""
    return [Sample(**orjson.loads(raw)) for raw in reversed(await redis.lrange(keys.history(endpoint), 0, -1))]
