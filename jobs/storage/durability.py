"""Waits until Redis has written to its disk."""

from redis.exceptions import RedisError, ResponseError

from balancer.state.redis_connection import AsyncRedis

__all__ = ["make_durable"]

PATIENCE_MS = 2000
"""Longest wait for the disk; the append-only file is synced each second."""
MARK = "rb:durable"
"""A key that is written only to be waited for."""


async def make_durable(redis: AsyncRedis) -> None:
    """Wait until what was written is on Redis's disk, where it can say so (Redis 7.2 and Valkey, with AOF).

    WAITAOF waits for what its own connection has written, and another one of the pool may have made the changes, so that
    something is written first. Redis 7.4.0 to 7.4.2 and Valkey, 9.1 among them, answer before the disk has it
    (https://github.com/redis/redis/pull/13793): there, what was written survives the end of the server's process, but up to a
    second of it is lost with its machine. Raises RedisError where nothing can be written.
    """
    async with redis.pipeline(transaction=False) as pipe:
        pipe.set(MARK, b"", px=1)
        pipe.execute_command("WAITAOF", 1, 0, PATIENCE_MS)
        written, waited = await pipe.execute(raise_on_error=False)
    if isinstance(written, RedisError):
        raise written
    if isinstance(waited, RedisError) and not isinstance(waited, ResponseError):  # it does not know the command, or has no AOF
        raise waited
