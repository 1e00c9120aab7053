"""Waits until Redis has written to its disk."""

from redis.exceptions import ResponseError

from balancer.state.redis_connection import AsyncRedis

__all__ = ["make_durable"]

PATIENCE_MS = 2000
"""Longest wait for the disk; the append-only file is synced each second."""


async def make_durable(redis: AsyncRedis) -> None:
    """Wait until what was written is on Redis's disk, where it can say so (Redis 7.2 and Valkey, with AOF)."""
    try:
        await redis.execute_command("WAITAOF", 1, 0, PATIENCE_MS)
    except ResponseError:
        return
