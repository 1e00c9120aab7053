"""Tells slow endpoints from dead ones by asking them, and aborts the requests at dead ones.

A request may take minutes, and no stopwatch on it says whether an answer will come. But the endpoint can be asked: one that has
finished nothing for a while is checked, and left when it does not answer the checks, or when it says itself that no token is
made any more.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from balancer.outcome import Failure, FailureKind
from balancer.providers import EngineLoad
from balancer.runtime.loop import end_tasks
from balancer.runtime.periodic import Periodic

__all__ = ["Signs", "Watch", "Watched"]

QUIET_AT_LEAST = 10.0
"""Seconds without an answer after which an endpoint with requests in flight is checked."""
TIMES_USUAL = 3.0
"""Times its usual latency after which it is, if that is longer."""
CHECK_EVERY = 2.0
CHECK_TIMEOUT = 2.0
FAILED_CHECKS = 2
"""Checks in a row after which an endpoint is left."""
STALLED_AFTER = 10.0
"""Seconds without a token, while requests run, after which an engine counts as stalled. One long prompt may take that long."""
LOOK_EVERY = 0.25

log = logging.getLogger(__name__)


class Signs:
    """When an endpoint last gave a sign of life while requests of this process were in flight there."""

    __slots__ = ("in_flight", "last")

    def __init__(self) -> None:
        self.in_flight = 0
        self.last = 0.0
        """By the monotonic clock: an answer, a piece of one, or the beginning of the first request after none."""

    def begin(self) -> None:
        """A request is sent."""
        if not self.in_flight:
            self.last = time.monotonic()
        self.in_flight += 1

    def alive(self) -> None:
        """Something has come from the endpoint."""
        self.last = time.monotonic()

    def end(self) -> None:
        """A request has ended, however it did."""
        self.in_flight -= 1


class Watched(Protocol):
    """What the watch asks a fleet for."""

    def signs(self) -> Mapping[str, Signs]:
        """Return those of all endpoints that may be checked."""

    def usual_latency(self, endpoint: str) -> float:
        """Return the seconds that an answer takes on average, 0 if that is not known."""

    async def answers(self, endpoint: str, timeout: float) -> Failure | None:
        """Ask an endpoint whether it is alive; return what is wrong."""

    async def engine_load(self, endpoint: str, timeout: float) -> EngineLoad:
        """Ask an endpoint how much it has to do, and how far it is."""

    async def leave(self, endpoint: str, failure: Failure) -> None:
        """Abort all requests at an endpoint."""


class Watch:
    """Watches the endpoints of one process. `start` before, `aclose` after."""

    def __init__(self, fleet: Watched) -> None:
        self._fleet = fleet
        self._looking = Periodic(self._look, LOOK_EVERY, "watch", lambda exc: log.warning("watching: %s", exc))
        self._examined: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Begin to watch."""
        self._looking.start()

    async def aclose(self) -> None:
        """Watch no more."""
        await self._looking.aclose()
        await end_tasks(*self._examined.values())

    async def _look(self) -> None:
        for endpoint in self._fleet.signs():
            if endpoint not in self._examined and self._is_quiet(endpoint):
                task = asyncio.create_task(self._examine(endpoint), name=f"examine {endpoint}")
                self._examined[endpoint] = task
                task.add_done_callback(self._forget(endpoint))

    def _forget(self, endpoint: str) -> Callable[["asyncio.Task[None]"], None]:
        def forget(task: "asyncio.Task[None]") -> None:
            del self._examined[endpoint]
            if not task.cancelled() and task.exception():
                log.error("the examination of %s came to nothing", endpoint, exc_info=task.exception())

        return forget

    def _is_quiet(self, endpoint: str) -> bool:
        signs = self._fleet.signs().get(endpoint)
        if signs is None or not signs.in_flight:
            return False
        return time.monotonic() - signs.last >= max(QUIET_AT_LEAST, TIMES_USUAL * self._fleet.usual_latency(endpoint))

    async def _examine(self, endpoint: str) -> None:
        """Check an endpoint until something is finished there again, or until it has to be left."""
        failed, before, moved_at = 0, None, time.monotonic()
        while self._is_quiet(endpoint):
            asked_at = time.monotonic()
            problem = await self._fleet.answers(endpoint, CHECK_TIMEOUT)
            failed = failed + 1 if problem is not None else 0
            if problem is not None and failed >= FAILED_CHECKS:
                await self._leave(endpoint, f"nothing was finished, and {failed} checks failed ({problem.public_message})")
                return
            if problem is None:
                load = await self._fleet.engine_load(endpoint, CHECK_TIMEOUT)
                if load.work is None or not load.running or (load.running, load.work) != before:
                    before, moved_at = (load.running, load.work), asked_at
                elif asked_at - moved_at >= STALLED_AFTER:
                    await self._leave(endpoint, f"its engine stands still: no token for {asked_at - moved_at:.0f} s")
                    return
            await asyncio.sleep(max(0.0, asked_at + CHECK_EVERY - time.monotonic()))

    async def _leave(self, endpoint: str, why: str) -> None:
        log.warning("%s is left: %s", endpoint, why)
        await self._fleet.leave(endpoint, Failure(FailureKind.UNRESPONSIVE, why))
