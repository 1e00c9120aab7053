"""Slots of one process."""

import asyncio
from collections import deque
from collections.abc import Iterable

from balancer.endpoint import Endpoint

__all__ = ["LocalSlots"]


class LocalSlots:
    """The right to have a request in flight, first come, first served. Use on one event loop."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._gauges: dict[str, _Gauge] = {}
        self._leaving: dict[str, _Gauge] = {}
        """Endpoints that have been removed with requests in flight."""
        for endpoint in endpoints:
            self.add(endpoint)

    def start(self) -> None:
        """Do nothing: there is nobody to settle with."""

    async def aclose(self) -> None:
        """Do nothing: there is nobody to give slots back to."""

    def add(self, endpoint: Endpoint) -> None:
        """Begin to count an endpoint's requests."""
        gauge = _Gauge(endpoint.max_concurrency)
        gauge.in_use = self.in_use(endpoint.name)
        self._leaving.pop(endpoint.name, None)
        self._gauges[endpoint.name] = gauge

    def remove(self, endpoint: str) -> None:
        """Forget an endpoint; those that wait for it go elsewhere."""
        self.turn_away(endpoint)
        gauge = self._gauges.pop(endpoint)
        if gauge.in_use:
            self._leaving[endpoint] = gauge

    def announce(self, endpoint: str, change: int) -> None:
        """Do nothing: nobody else wants the slots."""

    def try_acquire(self, endpoint: str) -> bool:
        """Take a slot if one is free, else return False."""
        gauge = self._gauges[endpoint]
        if gauge.waiters or gauge.in_use >= gauge.limit:
            return False
        gauge.in_use += 1
        return True

    async def acquire(self, endpoint: str) -> bool:
        """Wait for a slot, which needs a `release`; False if the wait was ended by `turn_away`."""
        if self.try_acquire(endpoint):
            return True
        waiters = self._gauges[endpoint].waiters
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.done() and waiter.result():
                self.release(endpoint)
            elif waiter in waiters:
                waiters.remove(waiter)
            raise

    def release(self, endpoint: str) -> None:
        """Give a slot back."""
        gauge = self._gauges.get(endpoint) or self._leaving[endpoint]
        gauge.in_use -= 1
        if not gauge.in_use:
            self._leaving.pop(endpoint, None)
        while gauge.waiters and gauge.in_use < gauge.limit:
            waiter = gauge.waiters.popleft()
            if not waiter.done():
                gauge.in_use += 1
                waiter.set_result(True)

    def turn_away(self, endpoint: str) -> None:
        """End all waits for slots of an endpoint."""
        waiters = self._gauges[endpoint].waiters
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(False)

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
        self.waiters: deque[asyncio.Future[bool]] = deque()
