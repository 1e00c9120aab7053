"""Detects dead workers: each keeps a named connection to Redis that disappears with it.

The kernel closes a killed process's connections at once, and Redis forgets them; those of a process that is only paused, or
behind a silent network, stay. Leases find those later, and everything where Redis does not show names (some services in front of
it don't).
"""

import logging
import math
import re
import time
from collections.abc import Iterable

from redis.exceptions import RedisError, ResponseError

from balancer.runtime.periodic import Periodic
from balancer.state import keys as balancer_keys
from balancer.state.redis_connection import AsyncRedis, open_connection
from jobs.storage import keys

__all__ = ["GONE_AFTER", "Presence", "Roll"]

PING_EVERY = 0.5
"""Seconds between looks at whether the connection lives; a broken one is made anew."""
PING_TIMEOUT = 2.0
SLOW_PING = 0.5
"""Seconds after which a ping that is not answered yet counts as none."""
LONGEST_BREAK = 60.0
"""Seconds after which a broken connection says nothing of Redis any more: it may be one that is never made."""
GONE_AFTER = 0.6
"""Seconds for which a connection has to be missing until its process is taken for dead."""
_NAME = re.compile(rb"\bname=rb:(\S+)")

log = logging.getLogger(__name__)


class Presence:
    """A worker's own connection. `start` it before shards are taken, `aclose` after."""

    def __init__(self, redis: AsyncRedis, url: str, process: str) -> None:
        """`redis` is the process's usual client, through which the name is announced."""
        self._redis = redis
        self._process = process
        self._own = open_connection(url, f"rb:{process}", PING_TIMEOUT)
        self._is_shown = False
        self._asked_at = math.inf
        """When the ping that is under way began."""
        self._broken_since: float | None = None
        self._unbroken_since = -math.inf
        self._pinging = Periodic(self._ping, lambda: PING_EVERY, "presence", self._made_anew)

    async def start(self) -> None:
        """Connect, and be on the roll if Redis shows the name."""
        try:
            await self._own.ping()
            self._is_shown = self._process in await _present(self._redis)
            if self._is_shown:
                await self._redis.sadd(keys.PRESENT, self._process)
            else:
                log.info("Redis does not show this process's connection; when it dies, its leases will tell")
        except RedisError as exc:
            log.warning("the connection that shows this process's presence can't be made (%s); its leases will do", exc)
        self._pinging.start()

    async def aclose(self) -> None:
        """Leave the roll, and close the connection."""
        await self._pinging.aclose()
        try:
            await self._redis.srem(keys.PRESENT, self._process)
        except RedisError as exc:
            log.warning("leaving the roll failed: Redis is unavailable (%s)", exc)
        await self._own.aclose()

    @property
    def unbroken_for(self) -> float:
        """Seconds for which Redis has answered without a break; infinite if none is known, 0 in one.

        The connection repeats nothing, so it meets breaks that other clients sit out between two attempts.
        """
        now = time.monotonic()
        if self._broken_since is not None:
            return 0.0 if now - self._broken_since < LONGEST_BREAK else math.inf
        return 0.0 if now - self._asked_at > SLOW_PING else now - self._unbroken_since

    async def _ping(self) -> None:
        self._asked_at = time.monotonic()
        if self._is_shown:
            # Another process may have taken this one for dead. A server that has a successor refuses to write.
            await self._own.sadd(keys.PRESENT, self._process)
        else:
            await self._own.ping()
        self._asked_at = math.inf
        if self._broken_since is not None:
            self._broken_since, self._unbroken_since = None, time.monotonic()

    def _made_anew(self, error: Exception) -> None:
        if not isinstance(error, ResponseError):  # that is an answer
            self._broken_since = self._broken_since or time.monotonic()
        log.debug("the connection that shows this process's presence is made anew: %s", error)


class Roll:
    """Who is gone, as the janitor sees it."""

    def __init__(self, redis: AsyncRedis) -> None:
        self._redis = redis
        self._missing_since: dict[str, float] = {}

    async def gone(self, patience: float = GONE_AFTER) -> set[str]:
        """Return the processes on the roll whose connection has been missing for `patience` seconds. Raises RedisError."""
        listed = {process.decode() for process in await self._redis.smembers(keys.PRESENT)}
        missing = listed - await _present(self._redis) if listed else set()
        now = time.monotonic()
        self._missing_since = {process: self._missing_since.get(process, now) for process in missing}
        return {process for process, since in self._missing_since.items() if now - since >= patience}

    async def strike_off(self, process: str, endpoints: Iterable[str]) -> None:
        """Forget a process that is gone; its requests have ended with its connections, so its slots are free."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.srem(keys.PRESENT, process)
            pipe.hdel(keys.SERVING, process)
            for endpoint in endpoints:
                pipe.hdel(balancer_keys.slots(endpoint), process)
            await pipe.execute()


async def _present(redis: AsyncRedis) -> set[str]:
    listed = await redis.execute_command("CLIENT", "LIST", "TYPE", "normal", NEVER_DECODE=True)
    text = listed if isinstance(listed, bytes) else str(listed).encode()
    return {name.decode() for name in _NAME.findall(text)}
