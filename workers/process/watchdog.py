"""Ends a worker that no longer receives messages, or whose consumer hangs.

After a reconnect, Celery's consumer has been seen to run on without ever taking a message again (celery issues 8091 and 10302).
A worker that has room, and queues with messages in them that only stand there, ends itself; so does one whose consumer's loop has
not gone round for long though Redis answers. Its supervisor starts it again, and its leases run out meanwhile.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Collection

from redis.exceptions import RedisError

from balancer.state.redis_connection import open_blocking_redis
from workers.engine import Engine
from workers.process.consumer import LoopHeartbeat

__all__ = ["DEAF_EXIT_CODE", "Watchdog", "is_deaf"]

LOOK_EVERY = 2.0
STUCK_AFTER = 15.0
"""Seconds in which Redis answers and the consumer's loop neither goes round nor tries to connect. A command may wait for a
socket's timeout, twice."""
DEAF_AFTER = 30.0
"""Seconds in which messages wait, there is room, and none is taken."""
DEAF_EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: start me again."""

log = logging.getLogger(__name__)


def is_deaf(waiting: int, running: int, concurrency: int, silent_for: float) -> bool:
    """Decide: `waiting` messages, room for more shards, and nothing heard for `silent_for` seconds."""
    return waiting > 0 and running < concurrency and silent_for >= DEAF_AFTER


class Watchdog:
    """Looks every few seconds from a thread of its own."""

    def __init__(self, engine: Engine, redis_url: str, queues: Callable[[], Collection[str]], concurrency: int) -> None:
        """`queues` are those that the worker consumes now."""
        self._engine = engine
        self._redis = open_blocking_redis(redis_url)
        self._queues = queues
        self._concurrency = concurrency
        self._stopped = threading.Event()
        self._empty_at = time.monotonic()
        """When the queues were last seen empty: a message that has just come has not waited."""
        self._away_at = time.monotonic()
        """When Redis last did not answer."""

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._look_forever, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _look_forever(self) -> None:
        while not self._stopped.wait(LOOK_EVERY):
            try:
                waiting = sum(int(self._redis.llen(queue)) for queue in self._queues())
            except RedisError:
                self._empty_at = self._away_at = time.monotonic()
                continue
            stuck_for = time.monotonic() - max(LoopHeartbeat.alive_at, self._away_at)
            if stuck_for > STUCK_AFTER:
                log.critical("the consumer has hung for %.0f s though Redis answers; this worker ends itself", stuck_for)
                os._exit(DEAF_EXIT_CODE)
            if waiting == 0:
                self._empty_at = time.monotonic()
            silent = time.monotonic() - max(self._engine.heard_at, self._empty_at)
            if is_deaf(waiting, self._engine.running, self._concurrency, silent):
                log.critical("%d messages have waited %.0f s and none came here; this worker ends itself", waiting, silent)
                os._exit(DEAF_EXIT_CODE)
