"""Slots of a single process."""

import asyncio
from collections.abc import Iterable

from balancer.endpoint import Endpoint
from balancer.state.slots.fair_queue import ONE_FLOW, FairQueue, Flow

__all__ = ["LocalSlots"]


class LocalSlots:
    """The right to have a request in flight. Use on one event loop."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._gauges: dict[str, _Gauge] = {}
        self._leaving: dict[str, _Gauge] = {}
        """Endpoints that have been removed with requests in flight."""
        for endpoint in endpoints:
            self.add(endpoint)

    def start(self) -> None:
        """Do nothing: there are no other processes."""

    async def refresh(self) -> None:
        """Do nothing: no other process has any."""

    async def aclose(self) -> None:
        """Do nothing: there are no other processes."""

    def add(self, endpoint: Endpoint) -> None:
        """Begin to count an endpoint's requests."""
        gauge = _Gauge(endpoint.first_limit)
        if leaving := self._leaving.pop(endpoint.name, None):
            gauge.in_use, gauge.waiters = leaving.in_use, leaving.waiters
        self._gauges[endpoint.name] = gauge

    def remove(self, endpoint: str) -> None:
        """Forget an endpoint; those that wait for it go elsewhere."""
        self.turn_away(endpoint)
        gauge = self._gauges.pop(endpoint)
        if gauge.in_use:
            self._leaving[endpoint] = gauge

    def resize(self, endpoint: str, limit: int) -> None:
        """Let so many requests be in flight from now on; those that are beyond it end as they do."""
        self._gauges[endpoint].resize(limit)

    def announce(self, endpoint: str, change: int) -> None:
        """Do nothing: no other process wants the slots."""

    def try_acquire(self, endpoint: str, flow: Flow = ONE_FLOW) -> bool:
        """Take a slot if one is free, else return False."""
        gauge = self._gauges[endpoint]
        if gauge.waiters or gauge.in_use >= gauge.limit:
            return False
        gauge.in_use += 1
        gauge.waiters.take(flow)
        return True

    async def acquire(self, endpoint: str, flow: Flow = ONE_FLOW) -> bool:
        """Wait for a slot, which needs a `release`; False if the wait was ended by `turn_away`."""
        if self.try_acquire(endpoint, flow):
            return True
        waiters = self._gauges[endpoint].waiters
        waiter = waiters.enter(flow)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiters.leave(flow, waiter):
                self.release(endpoint, flow)
            raise

    def has_lapsed(self, endpoint: str) -> bool:
        """Return False: leases are for several processes."""
        return False

    def release(self, endpoint: str, flow: Flow = ONE_FLOW) -> None:
        """Give a slot back, which `flow` has held."""
        gauge = self._gauges.get(endpoint) or self._leaving[endpoint]
        gauge.in_use -= 1
        gauge.waiters.give_back(flow)
        if not gauge.in_use:
            self._leaving.pop(endpoint, None)
        gauge.hand_out()

    def turn_away(self, endpoint: str) -> None:
        """End all waits for slots of an endpoint."""
        self._gauges[endpoint].waiters.turn_away()

    def in_use(self, endpoint: str) -> int:
        """Requests in flight at `endpoint`."""
        gauge = self._gauges.get(endpoint) or self._leaving.get(endpoint)
        return gauge.in_use if gauge else 0

    def load(self, endpoint: str) -> int:
        """Requests in flight at `endpoint` from everywhere that is known of."""
        return self.in_use(endpoint)


class _Gauge:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_use = 0
        self.waiters = FairQueue()

    def resize(self, limit: int) -> None:
        self.limit = limit
        self.hand_out()

    def hand_out(self) -> None:
        while self.waiters and self.in_use < self.limit and self.waiters.grant():
            self.in_use += 1
