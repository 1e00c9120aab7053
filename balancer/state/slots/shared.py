"""Slots shared by all processes through Redis.

A process is allowed a number of requests by Redis and hands them out by itself, so that a request costs no round trip: a
slot that comes free goes straight to the next waiter (see `fair_queue`). It asks again when it wants more or needs fewer,
and at least every third of a lease. What a dead process was allowed comes back when its lease runs out.
"""

import asyncio
import logging
import math
import time
from collections.abc import Iterable
from contextlib import suppress

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from balancer.endpoint import AutoConcurrency, Endpoint
from balancer.runtime.periodic import Periodic
from balancer.state import keys
from balancer.state.redis_connection import AsyncRedis
from balancer.state.scripts import Call, Scripts
from balancer.state.slots.fair_queue import ONE_FLOW, FairQueue, Flow

__all__ = ["SLOT_LEASE", "SharedSlots", "in_flight"]

log = logging.getLogger(__name__)

SLOT_LEASE = 10.0
"""Seconds until the slots of a process that is gone are free again."""
RENEW_EVERY = 1.0
"""Seconds after which a process that holds slots asks again, and learns what the others want."""
ASK_AGAIN_EVERY = 0.025
"""Seconds between asking for slots that another process had a moment ago."""
TELL_EVERY = 0.05
"""Seconds between telling the others how many requests are in flight, for an interactive balancer at work."""
AT_HAND = 2
"""Slots that an interactive balancer keeps between requests, so that the next one does not wait."""
AT_HAND_SHARE = 4
"""It keeps one more for each so many in flight, so that room is there for a rise of the load too."""
KEEP_AT_HAND = 10.0
"""Seconds after the last request for which it does."""
INTERACTIVE_WEIGHT, BULK_WEIGHT, BACKGROUND_WEIGHT = 256, 32, 1
"""By which what a process wants counts where slots are short: people wait for interactive ones, nothing for those that have only
lines of background jobs."""
SETTLE = 0.002
"""Seconds in which changes are gathered into one question."""
UNKNOWN = -1
"""What was asked for when it is not known whether the question arrived."""


def in_flight(entry: bytes, now: float) -> int:
    """Read the requests in flight of one process's entry in the slots hash; none if its lease is over at `now` (s)."""
    _, _, expires, in_use, *_ = entry.split(b":")
    return int(in_use) if int(expires) > now * 1000 else 0


async def requests_in_flight(redis: AsyncRedis, endpoint: str) -> int:
    """Return the requests in flight at an endpoint, of all processes together."""
    now = time.time()
    return sum(in_flight(entry, now) for entry in await redis.hvals(keys.slots(endpoint)))


class SharedSlots:
    """The slots of one process at every endpoint. Use on one event loop; `start` before, `aclose` after."""

    def __init__(self, scripts: Scripts, process: str, endpoints: Iterable[Endpoint], interactive: bool = False) -> None:
        """With `interactive`, a few slots are kept at hand between requests, the others learn soon how many are in flight,
        and while Redis is away each endpoint's own limit is all that counts."""
        self._scripts = scripts
        self._process = process
        self._interactive = interactive
        self._gauges: dict[str, _Gauge] = {}
        self._leaving: dict[str, _Gauge] = {}
        """Endpoints that have been removed with requests in flight."""
        self._alone = False
        for endpoint in endpoints:
            self.add(endpoint)
        self._renewed_at = 0.0
        self._asking = Periodic(self._ask_again, self._patience, "slots", self._go_on_alone, 0.5, SETTLE)

    def start(self) -> None:
        """Begin to settle with the other processes."""
        self._asking.start()

    async def refresh(self) -> None:
        """Learn how many requests the other processes have in flight. Raises RedisError."""
        await self._synchronise(list(self._gauges))

    async def aclose(self) -> None:
        """Stop, and give back what is held."""
        await self._asking.aclose()
        for gauge in self._gauges.values():
            gauge.announced = 0
        with suppress(RedisError):
            await self._synchronise([name for name, gauge in self._gauges.items() if gauge.known])

    def add(self, endpoint: Endpoint) -> None:
        """Begin to count an endpoint's requests."""
        gauge = _Gauge(endpoint, AT_HAND if self._interactive else 0)
        if leaving := self._leaving.pop(endpoint.name, None):
            gauge.in_use, gauge.known = leaving.in_use, leaving.known
            gauge.waiters = leaving.waiters
        self._gauges[endpoint.name] = gauge

    def remove(self, endpoint: str) -> None:
        """Forget an endpoint; those that wait for it go elsewhere, and what is held of it is free when its lease runs out."""
        self.turn_away(endpoint)
        gauge = self._gauges.pop(endpoint)
        if gauge.in_use:
            self._leaving[endpoint] = gauge

    def resize(self, endpoint: str, limit: int) -> None:
        """Let so many requests be in flight from now on, all processes together; those that are beyond it end as they do."""
        gauge = self._gauges[endpoint]
        if limit != gauge.limit:
            gauge.limit = limit
            if self._alone:
                gauge.go_on_alone()
            self._asking.wake()

    def announce(self, endpoint: str, change: int) -> None:
        """Say that `change` more (or fewer) requests than are waiting now are going to want a slot. Those for an endpoint that
        was removed go elsewhere."""
        gauge = self._gauges.get(endpoint)
        if gauge is None:
            return
        gauge.announced = max(0, gauge.announced + change)  # it may be another one of that name than the requests were for
        if gauge.wanted != gauge.asked:
            self._asking.wake()

    def try_acquire(self, endpoint: str, flow: Flow = ONE_FLOW) -> bool:
        """Take a slot if one is at hand, else return False."""
        gauge = self._gauges[endpoint]
        if gauge.waiters or not gauge.has_room(time.monotonic()):
            return False
        gauge.take(flow)
        if self._interactive and gauge.in_use == 1:
            self._asking.wake()
        return True

    async def acquire(self, endpoint: str, flow: Flow = ONE_FLOW) -> bool:
        """Wait for a slot, which needs a `release`; False if the wait was ended by `turn_away`."""
        if self.try_acquire(endpoint, flow):
            return True
        gauge = self._gauges[endpoint]
        while True:
            waiter = gauge.waiters.enter(flow)
            self._asking.wake()
            try:
                granted = await waiter
            except asyncio.CancelledError:
                if gauge.waiters.leave(flow, waiter):
                    self.release(endpoint, flow)
                raise
            if not granted or not self.has_lapsed(endpoint):
                return granted
            self.release(endpoint, flow)

    def has_lapsed(self, endpoint: str) -> bool:
        """Whether the lease of what is held is over, as it is in a process that was frozen: others may have been given it.

        Look right before a request is sent: it needs another slot then. For one that has been sent nothing changes.
        """
        gauge = self._gauges.get(endpoint) or self._leaving[endpoint]
        return time.monotonic() >= gauge.valid_until

    def turn_away(self, endpoint: str) -> None:
        """End all waits for slots of an endpoint that has turned bad, so that the waiters can go elsewhere."""
        self._gauges[endpoint].waiters.turn_away()

    def release(self, endpoint: str, flow: Flow = ONE_FLOW) -> None:
        """Give a slot back, which `flow` has held."""
        gauge = self._gauges.get(endpoint) or self._leaving[endpoint]
        gauge.give_back(flow)
        if not gauge.in_use:
            self._leaving.pop(endpoint, None)
        gauge.used_at = time.monotonic()
        gauge.hand_out(gauge.used_at)
        if gauge.held(gauge.used_at) < gauge.allowed:
            self._asking.wake()

    def in_use(self, endpoint: str) -> int:
        """Requests that this process has in flight at `endpoint`."""
        gauge = self._gauges.get(endpoint) or self._leaving.get(endpoint)
        return gauge.in_use if gauge else 0

    def load(self, endpoint: str) -> int:
        """Requests that all processes have in flight at `endpoint`; of the others' what was last heard."""
        gauge = self._gauges[endpoint]
        return gauge.in_use + gauge.others

    async def _ask_again(self) -> None:
        now = time.monotonic()
        everyone = now - self._renewed_at >= (TELL_EVERY if self._interactive else RENEW_EVERY)
        names = [n for n, g in self._gauges.items() if g.needs_settling or (everyone and self._counts(g))]
        try:
            await self._synchronise(names)
        except RedisConnectionError:
            if self._alone:
                raise
            # One of the connections that are kept may have died with a Redis that has been back for long.
            await self._synchronise(names)
        if self._alone:
            self._alone = False
            log.info("Redis is back; requests in flight and health are shared again")
        if everyone:
            self._renewed_at = now

    def _patience(self) -> float:
        """Return the seconds until it is time to ask again, if nothing changes."""
        if any(gauge.is_short for gauge in self._gauges.values()):
            return ASK_AGAIN_EVERY
        if not self._interactive:
            return RENEW_EVERY
        return TELL_EVERY if any(gauge.in_use for gauge in self._gauges.values()) else RENEW_EVERY / 2

    def _counts(self, gauge: "_Gauge") -> bool:
        """Whether there is something to renew: slots held, or others' requests to hear of."""
        return self._interactive or gauge.allowed > 0

    def _go_on_alone(self, error: Exception) -> None:
        """Without Redis: what is held goes on until it expires; an interactive balancer falls back on the limits alone."""
        if not self._interactive:
            log.warning("slots: Redis is unavailable (%s); going on with what is held until it expires", error)
            return
        if not self._alone:
            self._alone = True
            log.warning("Redis is unavailable (%s); until it is back this process balances by what it sees itself", error)
        for gauge in self._gauges.values():
            gauge.go_on_alone()

    async def _synchronise(self, names: list[str]) -> None:
        if not names:
            return
        asked_at = time.monotonic()
        questions = [self._question(name) for name in names]
        try:
            answers = await self._scripts.run_many(questions)
        except RedisError:
            for name in names:
                if gauge := self._gauges.get(name):
                    gauge.asked = UNKNOWN
            raise
        for name, answer in zip(names, answers, strict=True):
            gauge = self._gauges.get(name)
            if gauge is None:
                continue
            gauge.allowed, gauge.share, gauge.others = int(answer[0]), int(answer[1]), int(answer[2])
            gauge.limit = int(answer[3])
            gauge.valid_until = asked_at + SLOT_LEASE
            gauge.hand_out(time.monotonic())

    def _question(self, name: str) -> Call:
        gauge = self._gauges[name]
        held = gauge.held(time.monotonic())
        # What is not held may be given to another process before the answer is here.
        gauge.allowed = min(gauge.allowed, held)
        gauge.asked = gauge.wanted
        gauge.known = True
        weight = BACKGROUND_WEIGHT if gauge.waiters.is_background else BULK_WEIGHT
        weight = INTERACTIVE_WEIGHT if self._interactive else weight
        args = (self._process, held, gauge.asked, gauge.limit, int(SLOT_LEASE * 1000), gauge.in_use, weight)
        return "slots", (keys.slots(name), keys.slot_turns(name), keys.limit(name)), (*args, gauge.most, gauge.reserve)


class _Gauge:
    """One endpoint as this process sees it."""

    def __init__(self, endpoint: Endpoint, at_hand: int) -> None:
        self.limit = endpoint.first_limit
        self.most = endpoint.max_concurrency.max if isinstance(endpoint.max_concurrency, AutoConcurrency) else 0
        """The most that a learned limit may be; 0 for a configured one."""
        self.reserve = endpoint.reserve
        self.at_hand = at_hand
        self.used_at = 0.0
        self.others = 0
        """What the other processes were last heard to have in flight."""
        self.allowed = 0
        """What Redis counts as ours."""
        self.share = 0
        """What is fair now; what is held beyond it goes back as requests end."""
        self.in_use = 0
        self.announced = 0
        self.asked = 0
        self.known = False
        """Whether Redis may have counted something as ours."""
        self.valid_until = 0.0
        self.waiters = FairQueue()

    @property
    def wanted(self) -> int:
        spare = 0
        if self.at_hand and (self.in_use or time.monotonic() - self.used_at < KEEP_AT_HAND):
            spare = self.at_hand + self.in_use // AT_HAND_SHARE
        return min(self.limit, self.in_use + max(self.announced, len(self.waiters), spare))

    @property
    def usable(self) -> int:
        return min(self.allowed, self.share, self.limit)

    def held(self, now: float) -> int:
        """What can't be given away in a question: slots in use, and those that may be taken while it is under way.

        A process that has been silent for longer than the lease lasts has none but those in use: the rest may be others' by now.
        """
        return max(self.in_use, min(self.usable, self.wanted)) if now < self.valid_until else self.in_use

    @property
    def is_short(self) -> bool:
        return bool(self.waiters) and self.usable < self.wanted

    @property
    def needs_settling(self) -> bool:
        return self.is_short or self.wanted != self.asked or self.held(time.monotonic()) < self.allowed

    def has_room(self, now: float) -> bool:
        return self.in_use < self.usable and now < self.valid_until

    def go_on_alone(self) -> None:
        self.allowed = self.share = self.limit
        self.others = 0
        self.valid_until = math.inf
        self.hand_out(time.monotonic())

    def take(self, flow: Flow) -> None:
        self.in_use += 1
        self.waiters.take(flow)

    def give_back(self, flow: Flow) -> None:
        self.in_use -= 1
        self.waiters.give_back(flow)

    def hand_out(self, now: float) -> None:
        while self.waiters and self.has_room(now) and self.waiters.grant():
            self.in_use += 1
