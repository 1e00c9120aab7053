"""Active health checks of all endpoints, so that no user's request is spent on probing."""

import asyncio
import logging
import math
import time

from balancer.fleet.fleet import Fleet
from balancer.runtime.tasks import end_tasks
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
        self._task: asyncio.Task[None] | None = None
        self.suspects: set[str] = set()
        """Endpoints that are not used again, not even for a try, before a check has passed."""

    def start(self) -> None:
        """Begin to check."""
        self._task = asyncio.create_task(self._check_forever(), name="health checks")

    async def aclose(self) -> None:
        """Check no more."""
        if self._task:
            await end_tasks(self._task)

    async def _check_forever(self) -> None:
        while True:
            await asyncio.gather(*(self._check(name) for name in self._due(time.monotonic())))
            await asyncio.sleep(min(LOOK_EVERY, self._every))

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
            outcome = await self._fleet.check(endpoint)
        except Exception:
            # Whatever it was, the other endpoints are to be checked on.
            log.exception("the check of %s came to nothing", endpoint)
            return
        if outcome.failure is None or endpoint not in self._fleet.endpoints:
            self.suspects.discard(endpoint)
        else:
            self.suspects.add(endpoint)
