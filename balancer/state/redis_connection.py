"""Opens Redis connections with timeouts and retries that survive outages."""

from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from balancer.errors import SharedStateUnavailable

__all__ = ["CONNECT_TIMEOUT", "SOCKET_TIMEOUT", "AsyncRedis", "check_redis", "open_redis", "without_password"]

AsyncRedis = Any
"""A `redis.asyncio.Redis` that decodes nothing. Its own annotations stand for bytes and text at once, so that no answer could be
used without a cast."""
MAX_CONNECTIONS = 32
"""Connections of one process; callers beyond them wait, for at most POOL_WAIT seconds."""
POOL_WAIT = 20.0
SOCKET_TIMEOUT = 4.0
"""Seconds a command may take before it is tried again on another connection: one may be dead without anybody saying so."""
CONNECT_TIMEOUT = 2.0
"""Seconds."""


def open_redis(url: str, retries: int = 3, socket_timeout: float = SOCKET_TIMEOUT) -> AsyncRedis:
    """Return a client for `url` that decodes nothing (answers are bytes). No connection is made yet.

    Commands that met a broken connection are repeated up to `retries` times, so they must be idempotent.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=POOL_WAIT,
        socket_timeout=socket_timeout,
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_keepalive=True,
        health_check_interval=30,
        retry=Retry(ExponentialWithJitterBackoff(cap=1.0, base=0.05), retries),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
    )
    return Redis(connection_pool=pool)


async def check_redis(redis: AsyncRedis, url: str) -> None:
    """Make sure that `redis` answers. Raises SharedStateUnavailable with the reason."""
    try:
        await redis.ping()
    except RedisError as exc:
        raise SharedStateUnavailable(without_password(url), str(exc) or type(exc).__name__) from exc


def without_password(url: str) -> str:
    """Return `url` fit for a log or an error message."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
