"""Paces the lines of a key's jobs by its requests and tokens per minute, which its interactive requests take from too."""

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from redis.exceptions import RedisError

from balancer.outcome import Usage
from balancer.state.rate_limits.shared import expected_tokens
from balancer.state.redis_connection import AsyncRedis
from balancer.state.scripts import Scripts
from jobs.access import redis_keys
from jobs.access.rate_limit_status import RateLimitStatus
from jobs.access.spending import DAY_KEPT, MONTH_KEPT, counters

__all__ = ["AHEAD_SECONDS", "KeyPacer", "Paced", "paced_lines"]

AHEAD_SECONDS = 8.0
"""How much of its work a paced job may have given out: what is beyond would only keep endpoints from others."""
SHORTEST_WAIT = 0.02
JITTER = 0.25

log = logging.getLogger(__name__)


class Paced(Protocol):
    """A job: its owner's key, and the rates of that when the job was opened; 0 without a limit."""

    @property
    def owner(self) -> str: ...
    @property
    def key_rpm(self) -> int: ...
    @property
    def key_tpm(self) -> int: ...


class KeyPacer:
    """Takes from the buckets of keys in Redis (see lua/admit.lua), which all processes share."""

    def __init__(self, redis: AsyncRedis) -> None:
        self._scripts = Scripts(redis, Path(__file__).parent / "lua")

    async def take(self, job: Paced, body: Mapping[str, Any]) -> None:
        """Wait until the key of a job may send one more request. Raises RedisError."""
        if not (job.key_rpm or job.key_tpm):
            return
        expected = min(expected_tokens(body), job.key_tpm) if job.key_tpm else 0
        args = (job.key_rpm, job.key_tpm, 0, 0, 0, expected, "", 0, 0)
        while True:
            status = RateLimitStatus.from_answer(await self._scripts.run("admit", _script_keys(job.owner), args))
            if status.verdict == "ok":
                return
            # Not all who wait for the same moment come back at once.
            await asyncio.sleep(max(SHORTEST_WAIT, status.wait) * (1 + JITTER * random.random()))

    async def settle(self, job: Paced, body: Mapping[str, Any], usage: Usage) -> None:
        """Correct what was taken by the tokens that the request has used. Trouble with Redis is logged: the answer is there, and
        the bucket fills up with time."""
        if not job.key_tpm:
            return
        beyond = usage.prompt + usage.completion - min(expected_tokens(body), job.key_tpm)
        if beyond:
            args = (job.key_tpm, beyond, "", 0, DAY_KEPT, MONTH_KEPT)
            try:
                await self._scripts.run("reconcile", _script_keys(job.owner), args)
            except RedisError as exc:
                log.warning("the tokens of a line of %s could not be recorded: %s", job.owner, exc)


def paced_lines(rpm: int, tpm: int, line_tokens: float) -> float:
    """Return how many lines a job may have open: what its key's rates let through in `AHEAD_SECONDS`, and one at least."""
    rates = [rate for rate in (rpm or 0, (tpm or 0) / max(1.0, line_tokens)) if rate]
    return max(1.0, min(rates) / 60 * AHEAD_SECONDS) if rates else float("inf")


def _script_keys(key_id: str) -> tuple[str, ...]:
    spent = counters(key_id, time.time())
    return (redis_keys.limits(key_id), redis_keys.leases(key_id), *spent, redis_keys.reserved(key_id))
