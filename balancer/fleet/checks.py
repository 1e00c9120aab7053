"""Active health checks of all endpoints, so that no user's request is spent on probing."""

import asyncio
import logging
import math
import time

from balancer.fleet.fleet import Fleet
from balancer.runtime.periodic import Periodic
from balancer.state.health import Circuit

__all__ = ["Checks"]

FAILING_EVERY = 1.0
"""Seconds between two checks of a failing endpoint, at most."""
LOOK_EVERY = 0.5
"""Seconds between looking whose check is due."""

log = logging.getLogger(__name__)


class Checks:
    """Checks every endpoint each `every` seconds, failing ones more often, side by side. `start` before, `aclose` after."""

    def __init__(self, fleet: Fleet, every: float) -> None:
        self._fleet = fleet
        self._every = every
        self._checked_at: dict[str, float] = {}
        self._checking = Periodic(self._check_due, min(LOOK_EVERY, every), "health checks", _not_shared)
        self.suspects: set[str] = set()
        """Endpoints that are not used again, not even for a try, before a check has passed."""

    def start(self) -> None:
        """Begin to check."""
        self._checking.start()
        self._checking.wake()

    async def aclose(self) -> None:
        """Check no more."""
        await self._checking.aclose()

    async def _check_due(self) -> None:
        await asyncio.gather(*(self._check(name) for name in self._due(time.monotonic())))

    def _due(self, now: float) -> list[str]:
        due = []
        for name in self._fleet.endpoints:
            health = self._fleet.health[name]
            if health.circuit is Circuit.OPEN:
                self.suspects.add(name)
            well = health.usable and name not in self.suspects
            every = self._every if well else min(self._every, FAILING_EVERY)
            if now - self._checked_at.get(name, -math.inf) >= every:
                self._checked_at[name] = now
                due.append(name)
        return due

    async def _check(self, endpoint: str) -> None:
        try:
            outcome = await self._fleet.prober.check(endpoint)
        except Exception:
            # Whatever it was, the other endpoints are to be checked on.
            log.exception("the check of %s came to nothing", endpoint)
            return
        if outcome.failure is None or endpoint not in self._fleet.endpoints:
            self.suspects.discard(endpoint)
        else:
            self.suspects.add(endpoint)


def _not_shared(error: Exception) -> None:
    log.warning("health checks: %s", error)
