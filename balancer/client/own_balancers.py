"""The balancers that a client opens for itself: one for threads, and one for each event loop."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from balancer.client.load_balancer import AsyncLoadBalancer
from balancer.client.settings import BalancerSettings
from balancer.client.sync_load_balancer import LoadBalancer
from balancer.endpoint import Endpoint
from balancer.errors import BalancerClosed

__all__ = ["OwnBalancers"]


class OwnBalancers:
    """One balancer for threads, and one for each event loop, since it can't leave its loop. Each is opened at its first use.

    Raises ConfigurationError (a ValueError) for endpoints and options that can't be used, BalancerClosed after closing.
    """

    def __init__(self, endpoints: Sequence[Endpoint], options: Mapping[str, Any]) -> None:
        self.endpoints = tuple(BalancerSettings(endpoints, **options).endpoints)
        self._options = dict(options)
        self._lock = threading.Lock()
        self._for_threads: LoadBalancer | None = None
        self._by_loop: dict[asyncio.AbstractEventLoop, AsyncLoadBalancer] = {}
        self._closed = False

    def for_threads(self) -> LoadBalancer:
        """Return the balancer for callers that wait."""
        with self._lock:
            self._check()
            if self._for_threads is None:
                self._for_threads = LoadBalancer(self.endpoints, **self._options)
            return self._for_threads

    def for_loop(self) -> AsyncLoadBalancer:
        """Return the running loop's balancer."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._check()
            if loop not in self._by_loop:
                self._by_loop = {each: balancer for each, balancer in self._by_loop.items() if not each.is_closed()}
                self._by_loop[loop] = AsyncLoadBalancer(self.endpoints, **self._options)
            return self._by_loop[loop]

    def close(self) -> None:
        """Close the balancer for threads; none is opened any more."""
        with self._lock:
            self._closed = True
            balancer = self._for_threads
        if balancer is not None:
            balancer.close()

    async def aclose(self) -> None:
        """Close the running loop's balancer and the one for threads."""
        with self._lock:
            balancer = self._by_loop.pop(asyncio.get_running_loop(), None)
        if balancer is not None:
            await balancer.close()
        await asyncio.to_thread(self.close)

    def _check(self) -> None:
        if self._closed:
            raise BalancerClosed
