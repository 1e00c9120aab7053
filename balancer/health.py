"""What is known of every endpoint's health, shared by all processes.

Each process tells Redis what it saw (failures at once, successes gathered) and reads what all of them know a few times a
second. The circuit: closed (in use), open (left alone for a while after a run of failures), half open (its time is over; a
few requests find out; also that of an endpoint which did not answer two of its last few requests in time). An active check, made
by one process, closes it too, where it proves enough, or shortens the pause.

Requests may fail by their own fault: one that has failed there before counts no more while others are answered well, and while
they are, many more have to fail before the circuit opens.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from redis.exceptions import RedisError

from balancer import keys
from balancer.outcome import Failure, FailureKind, Outcome
from balancer.redis_connection import AsyncRedis
from balancer.scripts import Call, Scripts
from balancer.tasks import end_tasks

__all__ = [
    "DOUBT",
    "KEPT_OF_TIMEOUTS",
    "RECENT",
    "TIMEOUTS_TO_SUSPECT",
    "Circuit",
    "Health",
    "HealthBoard",
    "HealthPolicy",
    "OpenedBy",
    "Seen",
]

log = logging.getLogger(__name__)


class Circuit(StrEnum):
    """Whether an endpoint is used."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """When a circuit opens and for how long (seconds). A connection error weighs as much as `connection_weight` failures."""

    failures_to_open: int = 10
    connection_weight: int = 3
    first_open: float = 2.0
    longest_open: float = 60.0
    refresh_every: float = 0.25


RECENT = 60.0
"""Seconds after a good answer for which repeated failures of the same requests say nothing about the endpoint, and for which a
passed check bounds the pause."""
KEPT_OF_TIMEOUTS = 0.8
"""What each answer leaves of the timeouts before it, when they are counted."""
TIMEOUTS_TO_SUSPECT = 1.5
"""Timeouts, so counted, that make a circuit half open: two with at most three answers between them."""
DOUBT = 4
"""How many times more requests have to fail in a row, by what may be their own fault, while the endpoint is answering others."""


class OpenedBy(StrEnum):
    """What the failure was that opened a circuit."""

    ANSWERS = ""
    """Requests were taken and failed: a check proves little."""
    CONNECTION = "connection"
    """A connection could not be made: a check that is answered proves that they can again."""
    KEY = "key"
    """The key was refused: a check may show that it is taken again."""


@dataclass(frozen=True, slots=True)
class Health:
    """One endpoint's health. `latency` is the moving average in seconds, None before the first answer; `limited_for` is how
    many more seconds the endpoint has asked to be left alone, `open_for` how long its circuit stays open, `idle_for` how long
    ago it last answered well."""

    circuit: Circuit = Circuit.CLOSED
    latency: float | None = None
    limited_for: float = 0.0
    open_for: float = 0.0
    idle_for: float = math.inf
    completed: int = 0
    failed: int = 0
    last_error: str = ""

    @property
    def usable(self) -> bool:
        """Whether requests may go there now."""
        return self.circuit is not Circuit.OPEN and self.limited_for <= 0


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


class Fallback(Protocol):
    """What is known of health without Redis."""

    def __getitem__(self, endpoint: str) -> Health: ...
    def add(self, endpoint: str) -> None: ...
    def remove(self, endpoint: str) -> None: ...
    def note(self, outcome: Outcome) -> None: ...
    async def check_passed(self, endpoint: str) -> None: ...
    async def check_failed(self, outcome: Outcome) -> None: ...


class HealthBoard:
    """This process's view of all endpoints. Use on one event loop; `start` before, `aclose` after."""

    def __init__(
        self,
        redis: AsyncRedis,
        scripts: Scripts,
        endpoints: Iterable[str],
        policy: HealthPolicy | None = None,
        on_unusable: Callable[[str], None] | None = None,
        fallback: "Fallback | None" = None,
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
        self._urgent = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to report and to read."""
        self._task = asyncio.create_task(self._exchange_forever(), name="health")

    async def aclose(self) -> None:
        """Report what is left, and stop."""
        if self._task:
            await end_tasks(self._task)
            self._task = None
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

    def note(self, outcome: Outcome) -> None:
        """Take in what came of one request; it is shared within milliseconds if it is bad news."""
        if self._fallback:
            self._fallback.note(outcome)
        seen = self._seen.get(outcome.endpoint)
        if seen is None:
            return
        bad_news = seen.add(outcome, self._policy)
        if bad_news or self._known[outcome.endpoint].latency is None:
            # The first answers are news too: they tell how much an endpoint can be given.
            self._urgent.set()

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

    async def _exchange_forever(self) -> None:
        while True:
            with suppress(TimeoutError):
                # Not wait_for, which before Python 3.12 forgets a cancellation that comes together with the event.
                async with asyncio.timeout(self._policy.refresh_every):
                    await self._urgent.wait()
            self._urgent.clear()
            try:
                await self._report()
                await self.refresh()
                self._alone = False
            except RedisError as exc:
                if not self._alone and not self._fallback:  # with one, the slots have told of it
                    log.warning("health: Redis can't be asked (%s); going on with what is known here", exc)
                self._alone = True
                await asyncio.sleep(0.5)

    async def _report(self) -> None:
        told = {name: seen for name, seen in self._seen.items() if seen.anything}
        if not told:
            return
        for name in told:
            self._seen[name] = Seen()
        try:
            opened = await self._scripts.run_many([self._call(name, seen) for name, seen in told.items()])
        except RedisError:
            for name, seen in told.items():
                self._seen.setdefault(name, Seen()).merge(seen)
            raise
        for (name, seen), was_opened in zip(told.items(), opened, strict=True):
            if was_opened:
                log.warning("endpoint %s is failing and is left alone for a while: %s", name, seen.error)

    def _call(self, name: str, seen: "Seen", check: bool = False) -> Call:
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


@dataclass(slots=True)
class Seen:
    """What this process saw of one endpoint since it last told."""

    ok: int = 0
    answered: int = 0
    """Those of `ok` that were full answers: a refused request says nothing about the pace."""
    latency_sum: float = 0.0
    run: int = 0
    """Failures since the last success."""
    repeated_run: int = 0
    """Those besides of requests that had failed there before, by what may be their own fault."""
    timeouts: int = 0
    """Requests since the last success that were not answered in time, without those that had failed there before."""
    failed: int = 0
    error: str = ""
    limited_for: float = 0.0
    opened_by: OpenedBy = OpenedBy.ANSWERS
    """What the last failure was."""
    doubt: int = 1
    """`DOUBT` if the last failure may have been the request's own fault."""
    taken_out: bool = False
    """Nothing will go well there before somebody has done something."""

    def policy(self, usual: HealthPolicy) -> HealthPolicy:
        """Return for how long the circuit opens."""
        return replace(usual, first_open=TAKEN_OUT_FOR, longest_open=TAKEN_OUT_FOR) if self.taken_out else usual

    @property
    def anything(self) -> bool:
        return bool(self.ok or self.failed)

    def add(self, outcome: Outcome, policy: HealthPolicy) -> bool:
        """Take one outcome in and return whether the others should know at once."""
        failure = outcome.failure
        if failure is None or not _concerns_the_endpoint(failure):
            self.ok += 1
            if failure is None:
                self.answered += 1
                self.latency_sum += outcome.latency
            elif failure.one_model or failure.kind is FailureKind.MODEL_NOT_FOUND:
                self._show(failure)
            self.run = self.repeated_run = self.timeouts = 0
            return False
        self._show(failure)
        if failure.kind is FailureKind.TIMEOUT and not outcome.repeated:
            self.timeouts += 1
        if failure.kind is FailureKind.RATE_LIMIT or failure.retry_after is not None:
            pause = failure.retry_after or DEFAULT_RATE_LIMIT_PAUSE
            self.limited_for = max(self.limited_for, min(pause, LONGEST_RATE_LIMIT_PAUSE))
        self.doubt = DOUBT if failure.may_be_the_requests else 1
        self.opened_by = _OPENED_BY.get(failure.kind, OpenedBy.ANSWERS)
        if failure.takes_endpoint_out:
            self.taken_out = True
            self.run = policy.failures_to_open * DOUBT
        elif outcome.repeated and failure.may_be_the_requests:
            self.repeated_run += 1
        elif failure.counts_against_endpoint:
            self.run += policy.connection_weight if failure.kind is FailureKind.CONNECTION else 1
        return True

    def _show(self, failure: Failure) -> None:
        """Make a failure the endpoint's last error."""
        self.failed += 1
        what = _REASONS.get(failure.kind, "{}").format(failure.told)
        self.error = f"{failure.kind}: {what}"[:300]

    def merge(self, older: "Seen") -> None:
        """Take back what could not be told."""
        if not self.ok:
            self.run += older.run
            self.repeated_run += older.repeated_run
            self.timeouts += older.timeouts
        self.ok += older.ok
        self.answered += older.answered
        self.latency_sum += older.latency_sum
        if not self.failed:
            self.opened_by, self.doubt = older.opened_by, older.doubt
        self.taken_out = self.taken_out or older.taken_out
        self.failed += older.failed
        self.error = self.error or older.error
        self.limited_for = max(self.limited_for, older.limited_for)


def _concerns_the_endpoint(failure: Failure) -> bool:
    return failure.counts_against_endpoint or failure.takes_endpoint_out or failure.kind is FailureKind.RATE_LIMIT


_OPENED_BY = {FailureKind.CONNECTION: OpenedBy.CONNECTION, FailureKind.AUTHENTICATION: OpenedBy.KEY}
_REASONS = {
    FailureKind.AUTHENTICATION: "the key is refused ({}); check its api_key",
    FailureKind.QUOTA: "the account's quota is spent ({}); add to it or wait for it",
    FailureKind.MODEL_NOT_FOUND: "a model that is configured or was asked for is not served there ({}); check its models",
}
TAKEN_OUT_FOR = 300.0
"""Seconds after which an endpoint is tried again that refused the key or has no quota left."""
DEFAULT_RATE_LIMIT_PAUSE = 1.0
"""Seconds to leave an endpoint alone that answers 429 without saying for how long."""
LONGEST_RATE_LIMIT_PAUSE = 3600.0
"""Seconds after which it is asked again, whatever it said."""
