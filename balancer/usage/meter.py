"""Records usage in Redis by day, provider, model, endpoint and key.

A process adds up in its memory and tells Redis twice a second, so a request costs some microseconds here and nothing there. A
killed process loses what it has not reported.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from redis.exceptions import RedisError, ResponseError

from balancer.endpoint import Endpoint
from balancer.outcome import Outcome
from balancer.runtime.periodic import Periodic
from balancer.state import keys
from balancer.state.scripts import Scripts
from balancer.usage.tally import Row, Tally

__all__ = ["FROM_JOBS", "HEDGES", "OTHER_MODELS", "UsageMeter"]

FLUSH_EVERY = 0.5
"""Seconds."""
FLUSH_AT_THE_END = 5.0
"""Seconds that the last flush may take; then what is left is lost, and logged."""
DAYS_KEPT = 400
"""Days after which Redis forgets a day's account."""
FLUSH_KEPT = 86400
"""Seconds for which Redis remembers a meter's last flush: within them, one whose answer was lost is known again."""
DAY = 86400
"""Seconds."""
LONGEST_NAME = 200
"""Characters that are kept of a model's name. It comes from the user."""
MODELS_A_DAY = 200
"""Models that one process tells apart on one day."""
FROM_JOBS = "jobs"
"""The source of requests that are lines of jobs."""
HEDGES = "hedges"
"""The source of requests that are lines of jobs, sent once more while the first request is late."""
USUAL_TIERS = ("", "default", "standard", "auto", "on_demand")
"""The names that services have for processing as usual."""
OTHER_MODELS = "(other)"
"""Stands for the models beyond those."""

log = logging.getLogger(__name__)

Account = dict[tuple[str, Row], Tally]
"""Tallies by day (`2026-01-31`) and row."""


@dataclass(frozen=True, slots=True)
class _Flush:
    """What has been sent and is not known to have arrived. Redis takes in each number of a meter once."""

    number: int
    account: Account


class UsageMeter:
    """This process's part of the account. Use on one event loop; `start` before, `aclose` after.

    While Redis is away it goes on counting: rows are bounded by days, models, endpoints and keys, not by requests.
    """

    def __init__(self, scripts: Scripts, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since the epoch."""
        self._scripts = scripts
        self._clock = clock
        self._meter = secrets.token_hex(8)
        self._account: Account = {}
        self._unsure: _Flush | None = None
        self._flushes = 0
        self._day, self._day_begins, self._day_ends = "", 0.0, 0.0
        self._models: set[str] = set()
        self._away = False
        self._flushing = Periodic(self._flush_again, lambda: FLUSH_EVERY, "usage", self._count_on)

    def start(self) -> None:
        """Begin to tell Redis."""
        self._flushing.start()

    async def aclose(self) -> None:
        """Tell what is left, and stop."""
        await self._flushing.aclose()
        try:
            async with asyncio.timeout(FLUSH_AT_THE_END):
                await self.flush()
        except (RedisError, TimeoutError) as exc:
            log.warning("usage: %d requests are missing in the account, as Redis is unavailable (%r)", self._unwritten(), exc)

    def record(self, endpoint: Endpoint, outcome: Outcome, owner: str, source: str = "") -> None:
        """Count one attempt at `endpoint` for `owner` (the id of a key, or nothing); `source` is FROM_JOBS for a line of a
        job, HEDGES for one that is sent once more."""
        now = self._clock()
        if not self._day_begins <= now < self._day_ends:
            self._begin_day(now)
        tier = "" if outcome.tier in USUAL_TIERS else outcome.tier[:LONGEST_NAME]
        row = Row(endpoint.provider, outcome.model[:LONGEST_NAME], endpoint.name, owner, source, tier)
        tally = self._account.get((self._day, row))
        if tally is None:
            tally = self._tally_for(row)
        tally.add(outcome)

    def _begin_day(self, now: float) -> None:
        self._day_begins = now // DAY * DAY
        self._day_ends = self._day_begins + DAY
        self._day = datetime.fromtimestamp(now, UTC).date().isoformat()
        self._models.clear()

    def _tally_for(self, row: Row) -> Tally:
        if row.model not in self._models:
            if len(self._models) < MODELS_A_DAY:
                self._models.add(row.model)
            else:
                row = row._replace(model=OTHER_MODELS)
        return self._account.setdefault((self._day, row), Tally())

    async def flush(self) -> None:
        """Report what has been counted to Redis. Raises RedisError; then it is reported with the next flush."""
        if self._unsure is not None:
            await self._send(self._unsure)
        if self._account:
            self._flushes += 1
            self._unsure = _Flush(self._flushes, self._account)
            self._account = {}
            await self._send(self._unsure)

    async def _send(self, flush: _Flush) -> None:
        days = sorted({day for day, _ in flush.account})
        names = (keys.usage_flush(self._meter), *(keys.usage(day) for day in days))
        args: list[str | int | bytes] = [flush.number, FLUSH_KEPT, DAYS_KEPT * DAY]
        for (day, row), tally in flush.account.items():
            args += (days.index(day) + 2, row.packed(), tally.packed())
        await self._scripts.run("usage", names, args)
        self._unsure = None

    async def _flush_again(self) -> None:
        await self.flush()
        self._away = False

    def _count_on(self, error: Exception) -> None:
        if not self._away:
            # The slots tell the user of a Redis that is away; what it refuses may be refused to the account alone.
            level = logging.WARNING if isinstance(error, ResponseError) else logging.INFO
            log.log(level, "usage: Redis is unavailable (%s); usage is kept until it is back", error)
        self._away = True

    def _unwritten(self) -> int:
        accounts = [self._account, self._unsure.account if self._unsure else {}]
        return sum(tally.requests for account in accounts for tally in account.values())
