"""Notices that nothing can be answered: no endpoint is up, and no line has been finished for a while."""

import time
from collections.abc import Callable, Sequence

from balancer.state.health import Circuit
from jobs.errors import JobError
from jobs.monitoring.overview import EndpointState

__all__ = ["NOTICED_AFTER", "Outage", "OutageGivenUp"]

NOTICED_AFTER = 30.0
"""Seconds."""


class OutageGivenUp(JobError):
    """A run with `fail_fast` has ended, as all endpoints are down."""


class Outage:
    """Call it at each look at a job: it returns why each endpoint is down if that has been so for `NOTICED_AFTER` seconds and no
    line was finished meanwhile; "" if not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._done = -1

    def __call__(self, done: int, endpoints: Sequence[EndpointState]) -> str:
        """Take in how many lines are finished, and the state of the endpoints."""
        down = bool(endpoints) and all(each.health.circuit is not Circuit.CLOSED for each in endpoints)
        if not down or done != self._done:
            self._since, self._done = None, done
        if not down:
            return ""
        now = self._clock()
        if self._since is None:
            self._since = now
        if now - self._since < NOTICED_AFTER:
            return ""
        return "; ".join(f"{each.name}: {each.health.last_error or 'no answer'}" for each in endpoints)
