"""Opens Redis connections with timeouts and retries that survive outages."""

import re
from typing import Any

import redis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import Sentinel as BlockingSentinel

from balancer.errors import SharedStateUnavailable
from balancer.state.cluster import ClusterAddress
from balancer.state.connections import reporting_loss
from balancer.state.sentinel import BlockingPrimaryConnection, BlockingPrimaryTlsConnection, SentinelAddress, SentinelPool

__all__ = [
    "CONNECT_TIMEOUT",
    "SOCKET_TIMEOUT",
    "AsyncRedis",
    "BlockingRedis",
    "check_address",
    "check_redis",
    "open_blocking_redis",
    "open_connection",
    "open_redis",
    "without_password",
]

AsyncRedis = Any
"""A `redis.asyncio.Redis` that decodes nothing. Its own annotations stand for bytes and text at once, so that no answer could be
used without a cast."""
BlockingRedis = Any
"""A `redis.Redis`, likewise."""
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
    options: dict[str, Any] = {
        "max_connections": MAX_CONNECTIONS,
        "timeout": POOL_WAIT,
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_keepalive": True,
        "health_check_interval": 30,
        "retry": Retry(ExponentialWithJitterBackoff(cap=1.0, base=0.05), retries),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError],
    }
    return _client(url, options)


def open_connection(url: str, name: str, timeout: float) -> AsyncRedis:
    """Return a client with a single connection of that name, which Redis shows; no command is repeated. `timeout` (s) is that of
    a command. No connection is made yet."""
    options: dict[str, Any] = {
        "max_connections": 1,
        "client_name": name,
        "socket_timeout": timeout,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
    }
    return _client(url, options)


def _client(url: str, options: dict[str, Any]) -> AsyncRedis:
    pool: Any
    if (behind := SentinelAddress.parse(url)) is not None:
        options |= behind.server_options | {"connection_class": behind.connection_class}
        pool = SentinelPool(behind.service, behind.asyncio_sentinel(), **options)  # type: ignore[no-untyped-call]
    elif (cluster := ClusterAddress.parse(url)) is not None:
        pool = BlockingConnectionPool(**options, **cluster.options, connection_class=cluster.connection_class)
    else:
        pool = BlockingConnectionPool.from_url(url, **options)
        pool.connection_class = reporting_loss(pool.connection_class)
    return Redis.from_pool(pool)


def open_blocking_redis(url: str) -> BlockingRedis:
    """Return a client for threads, without asyncio."""
    options: dict[str, Any] = {"socket_timeout": SOCKET_TIMEOUT, "socket_connect_timeout": CONNECT_TIMEOUT}
    if (behind := SentinelAddress.parse(url)) is not None:
        sentinel = BlockingSentinel(behind.hosts, sentinel_kwargs=behind.blocking_sentinel_options)
        connection = BlockingPrimaryTlsConnection if behind.has_tls else BlockingPrimaryConnection
        return sentinel.master_for(behind.service, **options, **behind.server_options, connection_class=connection)
    if (cluster := ClusterAddress.parse(url)) is not None:
        options |= cluster.options
        return redis.Redis.from_pool(redis.ConnectionPool(**options, connection_class=cluster.blocking_connection_class))
    return redis.Redis.from_url(url, **options)


def check_address(url: str) -> None:
    """Make sure that `url` is an address of a Redis. Raises ValueError that says what is wrong."""
    if SentinelAddress.parse(url) or ClusterAddress.parse(url) or re.match(r"(rediss?|unix)://", url):
        return
    known = "redis://, rediss://, redis+sentinel://, rediss+sentinel://, redis+cluster://, rediss+cluster:// or unix://"
    raise ValueError(f"must begin with {known}")


async def check_redis(redis: AsyncRedis, url: str) -> None:
    """Make sure that `redis` answers. Raises SharedStateUnavailable with the reason."""
    try:
        await redis.ping()
    except RedisError as exc:
        raise SharedStateUnavailable(without_password(url), str(exc) or type(exc).__name__) from exc


def without_password(url: str) -> str:
    """Return `url` fit for a log or an error message: without its options, too."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
