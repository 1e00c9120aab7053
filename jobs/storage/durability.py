"""Waits until what was written to Redis would outlive a server: on its disk, and at a replica if it has one."""

from typing import Any

from redis.exceptions import RedisError, ResponseError

from balancer.state.redis_connection import AsyncRedis

__all__ = ["make_durable"]

PATIENCE_MS = 2000
"""Longest wait for the disk, where the append-only file is synced each second, and then for a replica."""
MARK = "rb:durable"
"""A key that is written only to be waited for."""


async def make_durable(redis: AsyncRedis) -> None:
    """Wait until what was written is on Redis's disk, where it can say so (Redis 7.2 and Valkey, with AOF), and at one of its
    replicas, if there are any, which may be its successor.

    WAITAOF and WAIT are about what their own connection has written, and another one of the pool may have made the changes, so
    that something is written first. Redis 7.4.0 to 7.4.2 and Valkey, 9.1 among them, answer WAITAOF before the disk has it
    (https://github.com/redis/redis/pull/13793): there, what was written survives the end of the server's process, but up to a
    second of it is lost with its machine. Raises RedisError where nothing can be written.
    """
    waited = await _write_and(redis, ("WAITAOF", 1, 0, PATIENCE_MS), ("ROLE",))
    if _has_replicas(waited[1]):
        await _write_and(redis, ("WAIT", 1, PATIENCE_MS))


async def _write_and(redis: AsyncRedis, *commands: tuple[str | int, ...]) -> list[Any]:
    """Write something, then run commands on the same connection; return their answers, or why Redis refuses them: it doesn't know
    the command, has no AOF, or doesn't allow it to this user."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.set(MARK, b"", px=1)
        for command in commands:
            pipe.execute_command(*command)
        written, *answers = await pipe.execute(raise_on_error=False)
    if isinstance(written, RedisError):
        raise written
    for answer in answers:
        if isinstance(answer, RedisError) and not isinstance(answer, ResponseError):
            raise answer
    return list(answers)


def _has_replicas(role: Any) -> bool:
    """Whether a server's answer to ROLE lists replicas: `master`, its offset, and each one's host, port and offset."""
    return isinstance(role, list) and len(role) > 2 and role[0] in (b"master", "master") and bool(role[2])
