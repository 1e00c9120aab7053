"""The janitor: reclaims the shards of dead workers, ends and expires jobs, checks health, sends webhooks, dispatches.

Every worker competes for a lock in Redis; the holder is the janitor. All that it does is safe to do twice.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from redis.exceptions import RedisError

from balancer.configuration import HealthCheck
from balancer.fleet.fleet import Fleet
from balancer.state.health import Circuit
from balancer.state.redis_connection import AsyncRedis
from balancer.state.slots.shared import requests_in_flight
from jobs.dispatch.dispatcher import Dispatcher
from jobs.dispatch.lease_table import LEASE, QUEUE_LEASE, ShardTable
from jobs.dispatch.presence import GONE_AFTER, Roll
from jobs.dispatch.queueing import queue_name
from jobs.errors import JobError
from jobs.fleet.changes import FleetChanges
from jobs.records import Job, as_batch, plain_endpoint
from jobs.records.states import PauseReason, ShardState
from jobs.results.endings import Endings
from jobs.storage import keys
from jobs.storage.job_store import JobStore, job_scripts
from jobs.storage.lock import Lock
from jobs.storage.object_store import ObjectStoreError
from jobs.upkeep.history import SAMPLE_EVERY, take_samples
from jobs.upkeep.sweep import Sweep
from jobs.webhooks.delivery import Deliveries

__all__ = ["Janitor"]

OFFICE_LEASE = 2.0
"""Seconds until another worker becomes janitor when this one is gone."""
ROUND_EVERY = 1.0
LOOK_EVERY = 0.25
"""Seconds between looks for leases that are over: lines of a worker that was killed wait for little else."""
FAILING_CHECK_EVERY = 2.0
"""Seconds between checks of an endpoint whose circuit is not closed."""

_PAUSED_BY_KEY = (PauseReason.KEY_BUDGET, PauseReason.KEY_REVOKED)

log = logging.getLogger(__name__)


class Janitor:
    """Run `run_forever` on every worker's loop."""

    def __init__(
        self,
        process: str,
        redis: AsyncRedis,
        fleet: Fleet,
        jobs: JobStore,
        shards: ShardTable,
        endings: Endings,
        sweep: Sweep,
        dispatcher: Dispatcher,
        health_check: HealthCheck,
        changes: FleetChanges,
        deliveries: Deliveries,
        unbroken_for: Callable[[], float],
    ) -> None:
        """`unbroken_for` says for how many seconds Redis has answered another connection without a break."""
        self._office = Lock(job_scripts(redis), keys.JANITOR, process, OFFICE_LEASE)
        self._redis = redis
        self._fleet = fleet
        self._jobs = jobs
        self._shards = shards
        self._endings = endings
        self._sweep = sweep
        self._dispatcher = dispatcher
        self._changes = changes
        self._deliveries = deliveries
        self._health_check = health_check
        self._checked_at: dict[str, float] = {}
        self._sampled_at = -SAMPLE_EVERY
        self._checks: set[asyncio.Task[None]] = set()
        self._roll = Roll(redis)
        self._unbroken_for = unbroken_for
        self._failed_at = -math.inf
        """When Redis last did not answer here."""
        self._next_expiry = math.inf
        """When the first of the jobs that are under way expires."""

    async def run_forever(self) -> None:
        """Do a round each second while in office, and when a job expires: its requests are in flight in vain from then on."""
        next_round, was_in_office = 0.0, False
        while True:
            try:
                in_office, before = await self._office.hold(), was_in_office
                was_in_office = in_office
                if in_office and not before and await self._take_from_gone(patience=0.0):
                    # The one before is gone; its office took longer to end than its connection.
                    await self._dispatcher.run()
                elif in_office:
                    if time.monotonic() >= next_round or time.time() >= self._next_expiry:
                        next_round = time.monotonic() + ROUND_EVERY
                        await self._round()
                    elif await self._take_back() or await self._take_from_gone():
                        await self._dispatcher.run()
            except RedisError as exc:
                log.warning("janitor: Redis is unavailable (%s)", exc)
                self._failed_at = time.monotonic()
            except Exception:
                log.exception("janitor: a round failed")
            await asyncio.sleep(LOOK_EVERY)

    async def leave(self) -> None:
        """Give the office up, so that another worker has it at once."""
        await self._deliveries.aclose()
        await self._office.release()

    async def _round(self) -> None:
        duties = (self._take_back, self._end_and_expire, self._sweep.run, self._remove_drained, self._sample)
        await self._each(*duties, self._deliveries.send_due)
        self._start_checks()
        await self._fleet.refresh_models()
        await self._dispatcher.run()

    async def _each(self, *duties: Callable[[], Awaitable[object]]) -> None:
        for duty in duties:
            try:
                await duty()
            except (JobError, ObjectStoreError, OSError) as exc:
                log.error("janitor: %s failed: %s", duty.__name__.strip("_"), exc)

    @property
    def _redis_was_away(self) -> bool:
        """Whether workers may not have had the time to renew their leases, nor to connect, since Redis was away."""
        return min(self._unbroken_for(), time.monotonic() - self._failed_at) < LEASE

    async def _take_back(self) -> bool:
        """Take back what no worker keeps any more, and say whether anything was."""
        if self._redis_was_away:
            return False
        now = await self._clock()
        overdue = await self._shards.overdue(now)
        taken = False
        waiting: Counter[str] = Counter()
        states = [(job_id, first, await self._shards.state(job_id, first)) for job_id, first in overdue]
        for _, _, state in states:
            if state.get("state") == ShardState.QUEUED:
                waiting[state["endpoint"]] += 1
        for job_id, first, state in states:
            if not state:
                await self._shards.forget_lease(job_id, first)
            elif "batch" in state:
                await self._look_after_batch(job_id, first, state)
            elif state["state"] == ShardState.QUEUED and await self._message_may_wait(state["endpoint"], waiting):
                await self._shards.extend(job_id, first, now + QUEUE_LEASE)
            elif await self._shards.give_back(job_id, first, state["token"], only_if="expired"):
                taken = True
                log.warning("took back lines from %d of %s (%s at %s)", first + 1, job_id, state["state"], state["endpoint"])

        return taken

    async def _take_from_gone(self, patience: float = GONE_AFTER) -> bool:
        """Take back what workers held whose connection has been gone for `patience` seconds, and say whether anything was."""
        if self._redis_was_away:
            return False
        taken = False
        for process in await self._roll.gone(patience):
            held = await self._shards.held_by(process)
            given = [await self._take_from(process, job_id, first) for job_id, first in held]
            taken |= any(given)
            if all(given):
                # One that held nothing has lost nothing: often it is the last run's, which was killed.
                level = logging.WARNING if held else logging.INFO
                log.log(level, "worker %s is gone; %d shards were taken back", process, len(held))
                await self._roll.strike_off(process, self._fleet.endpoints)
        return taken

    async def _take_from(self, process: str, job_id: str, first: int) -> bool:
        if await self._shards.take_from_gone(job_id, first, process):
            return True
        shard = await self._shards.requeue(job_id, first, only_if="gone", gone=process)
        if shard is not None:
            await self._dispatcher.wake([shard])
        return shard is not None

    async def _look_after_batch(self, job_id: str, first: int, state: Mapping[str, str]) -> None:
        """Have a worker poll a shard's batches that none polls; give them up if their endpoint is not configured any
        more."""
        endpoint = plain_endpoint(state["endpoint"])
        if endpoint not in self._fleet.endpoints:
            log.error("batches of %s at %s can't be polled: no such endpoint any more (%s)", job_id, endpoint, state["batch"])
            await self._shards.give_back(job_id, first, only_if="unreachable")
            return
        shard = await self._shards.requeue(job_id, first, state["token"], only_if="expired")
        if shard is not None:
            await self._dispatcher.wake([shard])

    async def _clock(self) -> float:
        """Return Redis's time (s), by which leases are kept."""
        seconds, micros = await self._redis.time()
        return float(seconds) + float(micros) / 1e6

    async def _message_may_wait(self, endpoint: str, waiting: Counter[str]) -> bool:
        """Whether the queue is long enough to hold the messages of all overdue shards of a healthy endpoint."""
        if self._fleet.endpoints.get(endpoint) is None or self._fleet.health[endpoint].circuit is Circuit.OPEN:
            return False
        return int(await self._redis.llen(queue_name(endpoint))) >= waiting[endpoint]

    async def _sample(self) -> None:
        if time.monotonic() - self._sampled_at >= SAMPLE_EVERY:
            self._sampled_at = time.monotonic()
            await take_samples(self._redis, self._fleet)

    async def _remove_drained(self) -> None:
        """Remove the endpoints that are to leave and have nothing in flight any more."""
        for name, change in (await self._changes.read()).items():
            if change.leaves and name in self._fleet.endpoints and await self._is_idle(name):
                log.info("endpoint %s is drained, and removed", name)
                await self._changes.remove(name)

    async def _is_idle(self, endpoint: str) -> bool:
        """Whether nothing is in flight at an endpoint, and nothing of what it has been given as batches is left."""
        return not await requests_in_flight(self._redis, endpoint) and not await self._redis.hlen(
            keys.open_lines(as_batch(endpoint))
        )

    async def _end_and_expire(self) -> None:
        now = time.time()
        jobs = await self._jobs.unfinished()
        for job in jobs:
            await self._end_or_expire(job)
        self._next_expiry = min((job.expires_at for job in jobs if not job.ending and job.expires_at > now), default=math.inf)

    async def _end_or_expire(self, job: Job) -> None:
        if job.paused in _PAUSED_BY_KEY and not await self._jobs.refresh_pause(job.id):
            log.info("job %s goes on: its key may spend again", job.id)
        late = not job.ending and job.expires_at <= time.time()
        if late:
            log.warning("job %s has reached the end of its time (%s)", job.id, job.window)
            await self._jobs.stop(job.id, "expired")
        if late or job.ending:
            await self._hurry_batches(job)
        if late or job.ending or job.cursor >= job.places:
            self._endings.begin(job.id)

    async def _hurry_batches(self, job: Job) -> None:
        """Have the batches of a job that is to end polled soon, so that they are cancelled."""
        for first in await self._shards.open_of(job.id):
            if shard := await self._shards.requeue(job.id, first, only_if="waiting"):
                await self._dispatcher.wake([shard])

    def _start_checks(self) -> None:
        """Check the endpoints that are due, side by side, without holding up the round."""
        if not self._health_check.enabled:
            return
        now = time.monotonic()
        for name in self._fleet.endpoints:
            healthy = self._fleet.health[name].circuit is Circuit.CLOSED
            every = self._health_check.interval if healthy else min(FAILING_CHECK_EVERY, self._health_check.interval)
            if now - self._checked_at.get(name, 0.0) >= every:
                self._checked_at[name] = now
                task = asyncio.create_task(self._check(name))
                self._checks.add(task)
                task.add_done_callback(self._checks.discard)

    async def _check(self, name: str) -> None:
        try:
            outcome = await self._fleet.prober.check(name)
        except RedisError as exc:
            log.warning("janitor: the check of %s can't be shared (%s)", name, exc)
            return
        if outcome.failure:
            log.info("endpoint %s failed its check: %s", name, outcome.failure.message)
