"""Readiness: whether Redis answers and an endpoint is healthy."""

import asyncio

from redis.exceptions import RedisError

from balancer.state.health import Circuit
from producer_api.context import ApiContext

__all__ = ["reasons_against"]

REDIS_TIMEOUT = 2.0
"""Seconds after which Redis is taken to be away."""


async def reasons_against(api: ApiContext) -> list[str]:
    """Return why requests should not come here; nothing if they may. Names no endpoint: anybody may ask."""
    reasons = ["the server is being stopped"] if api.stopping.is_set() else []
    try:
        async with asyncio.timeout(REDIS_TIMEOUT):
            await api.node.redis.ping()
    except (RedisError, TimeoutError):
        reasons.append("Redis does not answer")
    names = list(api.node.fleet.endpoints)
    if all(api.node.fleet.health[name].circuit is Circuit.OPEN for name in names):
        reasons.append(f"none of {len(names)} endpoints is healthy" if names else "no endpoint is configured")
    return reasons
