"""Endpoint health shared by all processes through Redis.

Each process tells Redis what it saw (failures at once, successes gathered) and reads what all of them know a few times a
second. The circuit: closed (in use), open (left alone for a while after a run of failures), half open (its time is over; a
few requests find out; also that of an endpoint which did not answer two of its last few requests in time). An active check, made
by one process, closes it too, where it proves enough, or shortens the pause.

Requests may fail by their own fault: one that has failed there before counts no more while others are answered well, and while
they are, many more have to fail before the circuit opens.
"""

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from redis.exceptions import RedisError

from balancer.outcome import Outcome
from balancer.runtime.periodic import Periodic
from balancer.state import keys
from balancer.state.redis_connection import AsyncRedis
from balancer.state.scripts import Call, Scripts

__all__ = ["SharedHealth", "read_health"]

from balancer.state.health import EndpointHealth
from balancer.state.health.circuit import DOUBT, KEPT_OF_TIMEOUTS, RECENT, TIMEOUTS_TO_SUSPECT, Circuit, Health, HealthPolicy
from balancer.state.health.report import Seen

log = logging.getLogger(__name__)


def read_health(fields: dict[bytes, bytes], now: float) -> Health:
    """Make Health of the Redis hash. `now` is the clock in seconds since the epoch."""

    def number(name: bytes) -> float:
        return float(fields.get(name) or 0)

    circuit = Circuit((fields.get(b"state") or b"closed").decode())
    open_for = max(0.0, number(b"open_until") / 1000 - now) if circuit is Circuit.OPEN else 0.0
    if circuit is Circuit.OPEN and open_for == 0:
        circuit = Circuit.HALF_OPEN
    return Health(
        circuit=circuit,
        latency=float(fields[b"latency"]) if b"latency" in fields else None,
        limited_for=max(0.0, number(b"limited_until") / 1000 - now),
        open_for=open_for,
        idle_for=max(0.0, now - number(b"last_ok_at") / 1000),
        completed=int(number(b"ok")),
        failed=int(number(b"failed")),
        last_error=(fields.get(b"last_error") or b"").decode("utf-8", "replace"),
    )


class SharedHealth:
    """This process's view of all endpoints. Use on one event loop; `start` before, `aclose` after."""

    def __init__(
        self,
        redis: AsyncRedis,
        scripts: Scripts,
        endpoints: Iterable[str],
        policy: HealthPolicy | None = None,
        on_unusable: Callable[[str], None] | None = None,
        fallback: EndpointHealth | None = None,
    ) -> None:
        self._redis = redis
        self._scripts = scripts
        self._policy = policy or HealthPolicy()
        self._on_unusable = on_unusable
        self._fallback = fallback
        self._alone = False
        self._known = {name: Health() for name in endpoints}
        self._read_at = time.monotonic()
        self._seen = {name: Seen() for name in self._known}
        self._exchanging = Periodic(self._exchange, self._policy.refresh_every, "health", self._go_on_alone, 0.5)

    def start(self) -> None:
        """Begin to report and to read."""
        self._exchanging.start()

    async def aclose(self) -> None:
        """Report what is left, and stop."""
        await self._exchanging.aclose()
        with suppress(RedisError):
            await self._report()

    def add(self, endpoint: str) -> None:
        """Begin to watch an endpoint."""
        self._known.setdefault(endpoint, Health())
        self._seen.setdefault(endpoint, Seen())
        if self._fallback:
            self._fallback.add(endpoint)

    def remove(self, endpoint: str) -> None:
        """Forget an endpoint."""
        self._known.pop(endpoint, None)
        self._seen.pop(endpoint, None)
        if self._fallback:
            self._fallback.remove(endpoint)

    def __getitem__(self, endpoint: str) -> Health:
        """What is known of one endpoint, at most a fraction of a second old; waiting times are up to date."""
        if self._alone and self._fallback:
            return self._fallback[endpoint]
        health = self._known[endpoint]
        if health.limited_for <= 0 and health.circuit is not Circuit.OPEN:
            return health
        return _aged(health, time.monotonic() - self._read_at)

    def record(self, outcome: Outcome) -> None:
        """Take in what came of one request; it is shared within milliseconds if it is bad news."""
        if self._fallback:
            self._fallback.record(outcome)
        seen = self._seen.get(outcome.endpoint)
        if seen is None:
            return
        bad_news = seen.add(outcome, self._policy)
        if bad_news or self._known[outcome.endpoint].latency is None:
            # The first answers are news too: they tell how much an endpoint can be given.
            self._exchanging.wake()

    async def check_passed(self, endpoint: str) -> None:
        """Share that an active check went well."""
        if self._fallback:
            await self._fallback.check_passed(endpoint)
        await self._share(self._call(endpoint, Seen(), check=True))

    async def check_failed(self, outcome: Outcome) -> None:
        """Share that an active check failed: it opens the circuit at once."""
        if self._fallback:
            await self._fallback.check_failed(outcome)
        seen = Seen()
        seen.add(outcome, self._policy)
        seen.run = self._policy.failures_to_open * DOUBT
        await self._share(self._call(outcome.endpoint, seen))

    async def _share(self, call: Call) -> None:
        try:
            await self._scripts.run(*call)
        except RedisError:
            # With a fallback, what was seen is known here all the same.
            if self._fallback is None:
                raise

    async def refresh(self) -> None:
        """Read what all processes know."""
        names = list(self._known)
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(keys.health(name))
            answers = await pipe.execute()
        now = time.time()
        self._read_at = time.monotonic()
        # Meanwhile endpoints may have been added and removed.
        self._known |= {n: read_health(fields, now) for n, fields in zip(names, answers, strict=True) if n in self._known}
        if self._on_unusable:
            for name, health in self._known.items():
                if not health.usable:
                    self._on_unusable(name)

    async def _exchange(self) -> None:
        await self._report()
        await self.refresh()
        self._alone = False

    def _go_on_alone(self, error: Exception) -> None:
        if not self._alone and not self._fallback:  # with one, the slots have logged it
            log.warning("health: Redis is unavailable (%s); going on with what is known here", error)
        self._alone = True

    async def _report(self) -> None:
        reported = {name: seen for name, seen in self._seen.items() if seen.anything}
        if not reported:
            return
        for name in reported:
            self._seen[name] = Seen()
        try:
            opened = await self._scripts.run_many([self._call(name, seen) for name, seen in reported.items()])
        except RedisError:
            for name, seen in reported.items():
                self._seen.setdefault(name, Seen()).merge(seen)
            raise
        for (name, seen), was_opened in zip(reported.items(), opened, strict=True):
            if was_opened:
                log.warning("endpoint %s is failing and is left alone for a while: %s", name, seen.error)

    def _call(self, name: str, seen: Seen, check: bool = False) -> Call:
        policy = seen.policy(self._policy)
        args: tuple[Any, ...] = (
            seen.ok, f"{seen.latency_sum / seen.answered:.6f}" if seen.answered else "", seen.run, seen.failed, seen.error,
            policy.failures_to_open, int(policy.first_open * 1000), int(policy.longest_open * 1000),
            int(seen.limited_for * 1000), int(check), seen.opened_by, seen.repeated_run, int(RECENT * 1000),
            seen.doubt, seen.timeouts, KEPT_OF_TIMEOUTS, TIMEOUTS_TO_SUSPECT,
        )  # fmt: skip
        return "report", (keys.health(name),), args


def _aged(health: Health, seconds: float) -> Health:
    open_for = max(0.0, health.open_for - seconds)
    circuit = Circuit.HALF_OPEN if health.circuit is Circuit.OPEN and open_for == 0 else health.circuit
    return replace(health, circuit=circuit, open_for=open_for, limited_for=max(0.0, health.limited_for - seconds))
