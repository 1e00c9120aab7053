"""Endpoint health of one process: the rules of report.lua as a pure function."""

import time
from collections.abc import Callable, Iterable

from balancer.outcome import Outcome
from balancer.runtime.record import record
from balancer.state.health.circuit import KEPT_OF_TIMEOUTS, RECENT, TIMEOUTS_TO_SUSPECT, Circuit, Health, HealthPolicy, OpenedBy
from balancer.state.health.report import Seen

__all__ = ["LocalHealth", "Record", "after_report"]

FORGETTING = 0.9
"""Weight of the old latency average against one new answer."""
MOST_ANSWERS = 20
"""Answers in one report beyond which the average moves no further."""


@record(frozen=True, slots=True)
class Record:
    """What is kept of an endpoint. Times are seconds of the caller's clock."""

    state: Circuit = Circuit.CLOSED
    run: int = 0
    trips: int = 0
    latency: float | None = None
    open_until: float = 0.0
    limited_until: float = 0.0
    last_ok_at: float = float("-inf")
    completed: int = 0
    failed: int = 0
    last_error: str = ""
    opened_by: OpenedBy = OpenedBy.ANSWERS
    timeouts: float = 0.0
    """Those before the last few answers count for less."""

    def health(self, now: float) -> Health:
        """Return what it means at `now`."""
        open_for = max(0.0, self.open_until - now) if self.state is Circuit.OPEN else 0.0
        circuit = Circuit.HALF_OPEN if self.state is Circuit.OPEN and open_for == 0 else self.state
        return Health(
            circuit=circuit,
            latency=self.latency,
            limited_for=max(0.0, self.limited_until - now),
            open_for=open_for,
            idle_for=now - self.last_ok_at,
            completed=self.completed,
            failed=self.failed,
            last_error=self.last_error,
        )


def after_report(record: Record, seen: Seen, policy: HealthPolicy, now: float, check_passed: bool = False) -> Record:
    """Return the record after a report: see lua/report.lua, which does the same in Redis."""
    state, run, trips = record.state, record.run, record.trips
    if state is Circuit.OPEN and now >= record.open_until:
        state = Circuit.HALF_OPEN
    latency, last_ok_at, open_until = record.latency, record.last_ok_at, record.open_until
    if check_passed:
        if state is Circuit.CLOSED or record.opened_by is OpenedBy.CONNECTION:
            state, run = Circuit.CLOSED, 0
        elif record.opened_by is OpenedBy.KEY or now - last_ok_at < RECENT:
            open_until = min(open_until, now + policy.first_open)
    if seen.ok:
        latency, last_ok_at, run = _average(latency, seen), now, 0
        if state is not Circuit.OPEN:
            state, trips = Circuit.CLOSED, 0
    fresh = seen.run
    if state is Circuit.HALF_OPEN or now - last_ok_at >= RECENT:
        fresh += seen.repeated_run
    run += fresh
    opened_by = record.opened_by
    is_answering = now - last_ok_at < max(1.0, 2 * (latency or 0.0))
    to_open = policy.failures_to_open * (seen.doubt if is_answering else 1)
    if fresh and state is not Circuit.OPEN and (run >= to_open or state is Circuit.HALF_OPEN):
        state, trips, opened_by = Circuit.OPEN, trips + 1, seen.opened_by
        open_until = now + min(policy.longest_open, policy.first_open * 2.0 ** (trips - 1))
    timeouts = _timeouts(record, seen)
    if seen.timeouts and state is Circuit.CLOSED and timeouts >= TIMEOUTS_TO_SUSPECT:
        state, opened_by = Circuit.HALF_OPEN, OpenedBy.ANSWERS
    limited_until = record.limited_until
    # Made whole, since `dataclasses.replace` costs several times as much, for every request.
    return Record(
        state=state,
        run=run,
        trips=trips,
        latency=latency,
        open_until=open_until,
        limited_until=max(limited_until, now + seen.limited_for) if seen.limited_for else limited_until,
        last_ok_at=last_ok_at,
        completed=record.completed + seen.ok,
        failed=record.failed + seen.failed,
        last_error=seen.error if seen.failed else record.last_error,
        opened_by=opened_by,
        timeouts=timeouts,
    )


def _timeouts(record: Record, seen: Seen) -> float:
    kept = record.timeouts and record.timeouts * KEPT_OF_TIMEOUTS**seen.ok
    return kept + seen.timeouts


def _average(before: float | None, seen: Seen) -> float | None:
    if not seen.answered:
        return before
    mean = seen.latency_sum / seen.answered
    keep = FORGETTING ** min(seen.ok, MOST_ANSWERS)
    return mean if before is None else before * keep + mean * (1 - keep)


class LocalHealth:
    """The health of all endpoints, for this process."""

    def __init__(
        self,
        endpoints: Iterable[str],
        policy: HealthPolicy | None = None,
        on_unusable: Callable[[str], None] | None = None,
    ) -> None:
        self._policy = policy or HealthPolicy()
        self._on_unusable = on_unusable
        self._records = {name: Record() for name in endpoints}

    def start(self) -> None:
        """Do nothing: there are no other processes."""

    async def aclose(self) -> None:
        """Do nothing: there are no other processes."""

    async def refresh(self) -> None:
        """Do nothing: there are no other processes."""

    def add(self, endpoint: str) -> None:
        """Begin to watch an endpoint."""
        self._records.setdefault(endpoint, Record())

    def remove(self, endpoint: str) -> None:
        """Forget an endpoint."""
        self._records.pop(endpoint, None)

    def __getitem__(self, endpoint: str) -> Health:
        """What is known of one endpoint."""
        return self._records[endpoint].health(time.monotonic())

    def record(self, outcome: Outcome) -> None:
        """Take in what came of one request."""
        seen = Seen()
        seen.add(outcome, self._policy)
        self._take(outcome.endpoint, seen)

    async def check_passed(self, endpoint: str) -> None:
        """Take in that an active check went well."""
        self._take(endpoint, Seen(), check_passed=True)

    async def check_failed(self, outcome: Outcome) -> None:
        """Take in that an active check failed: it opens the circuit at once."""
        seen = Seen()
        seen.add(outcome, self._policy)
        seen.run = self._policy.failures_to_open
        self._take(outcome.endpoint, seen)

    def _take(self, endpoint: str, seen: Seen, check_passed: bool = False) -> None:
        record = self._records.get(endpoint)
        if record is None:
            return
        now = time.monotonic()
        changed = after_report(record, seen, seen.policy(self._policy), now, check_passed)
        self._records[endpoint] = changed
        if self._on_unusable and seen.failed and not changed.health(now).usable:
            self._on_unusable(endpoint)
