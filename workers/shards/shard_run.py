"""Runs one shard: reads its lines, sends them, records results, commits."""

import asyncio
import functools
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from redis.exceptions import RedisError

from balancer.fleet.slot import Slot
from balancer.outcome import NO_USAGE, Failure, FailureKind, Outcome
from balancer.routing import GiveUp, Target
from balancer.runtime.loop import end_tasks
from jobs.intake.line_order import read_places
from jobs.records import Job, Shard
from workers.shards.claimed_shard import ClaimedShard
from workers.shards.hedging import LOOK_EVERY
from workers.shards.line_sender import Line, LineSender, Place
from workers.shards.run_context import Ending, RunContext, ShardEnd
from workers.shards.shared_prefix import prefix_of

__all__ = ["ShardRun"]

LOST_TO_RUN_ALONE = 2
"""Workers lost with a shard after which its lines run one by one, to find the one that kills them."""
LOOK_AGAIN = 0.25
"""Seconds between looking whether all lines of a job have been given out, at the end of a shard."""
LEAD_TIMES_USUAL, LONGEST_LEAD = 3.0, 1.0
"""By how many times the usual latency, and by how many seconds at most, the first line of an ordered shard goes ahead."""
LOST_TO_BLAME = 3
"""Workers lost with it after which a line that ran alone when the last one died is given up."""

log = logging.getLogger(__name__)


class ShardRun(ClaimedShard):
    """A claimed shard whose lines are sent one by one."""

    def __init__(self, shard: Shard, job: Job, waits: int, context: RunContext) -> None:
        """`waits` counts how often it has waited before."""
        super().__init__(shard, job, waits, context)
        self._sender = LineSender(shard.endpoint, job, context)
        self._in_flight: dict[asyncio.Task[None], Line | None] = {}
        """None for hedges."""
        self._hedges: defaultdict[int, set[asyncio.Task[None]]] = defaultdict(set)
        """Those under way, by the numbers of their lines."""
        self._feeding: asyncio.Task[None] | None = None
        self._stopped = False
        self._settled = asyncio.Event()
        """Set when nothing is in flight any more."""
        self._announced = 0

    def stop(self) -> None:
        self._stopped = True
        if self._feeding:
            self._feeding.cancel()

    def abandon(self) -> None:
        self.stop()
        for task in self._in_flight:
            task.cancel()

    async def run(self) -> ShardEnd:
        await self._load()
        self._sender.passes = self._passes
        await self._send_lines()
        await self._context.recorder.wait_until_recorded(self)
        if self.lost:
            return ShardEnd(Ending.LOST)
        if self._stopped:
            return await self._return()
        if len(self._results) < self.shard.lines:
            waiting = await self._wait_or_give_up(self._sender.another_endpoint())
            if waiting:
                return waiting
        return await self._close()

    async def _send_lines(self) -> None:
        self._announce(self.shard.lines - len(self._results))
        self._feeding = asyncio.create_task(self._feed())
        if self._stopped:
            self._feeding.cancel()
        try:
            await asyncio.wait([self._feeding])
            self._announce(-self._announced)
            if self._in_flight:
                self._settled.clear()
                hedging = asyncio.create_task(self._hedge_stragglers())
                try:
                    await self._settled.wait()
                finally:
                    await end_tasks(hedging)
        finally:
            self._announce(-self._announced)
            for task in (self._feeding, *self._in_flight):
                task.cancel()
        if not self._feeding.cancelled():
            self._feeding.result()

    def _announce(self, change: int) -> None:
        if change:
            self._announced += change
            self._context.fleet.slots.announce(self.shard.endpoint, change)

    async def _feed(self) -> None:
        """Begin each line as soon as there is a slot for it."""
        async for line in self._lines():
            if line.number == self.shard.blamed and self.shard.lost >= LOST_TO_BLAME:
                self._blame(line)
                self._announce(-1)
                continue
            if line.cache_key and await self._use_cached(line):
                self._announce(-1)
                continue
            await self._context.pacer.take(self._job, line.body)
            place = await self._sender.place_for(line)
            if isinstance(place, GiveUp):
                self._failures[line.number] = (line, place.failure)
                self._announce(-1)
                continue
            if self._stopped:
                # A cancellation can get lost (see balancer.runtime.loop).
                place.slot.release()
                return
            self._announce(-1)
            if self._runs_alone:
                await self._run_alone(line, place)
            else:
                task = self._begin(self._run_safely(line, place), line, place.slot)
                if line.number == self.shard.first and self._job.groups_prefixes:
                    await asyncio.wait([task], timeout=self._time_to_read())

    async def _lines(self) -> AsyncIterator[Line]:
        """Yield the lines that are not finished. Where prompts are kept only if marked, each line knows whether it begins
        like the one before or after it."""
        shard, before = self.shard, None
        compares = any(endpoint.cache for endpoint in self._context.fleet.endpoints.values())
        async for each in read_places(self._context.objects, self._job, shard.first, shard.end):
            if each.place in self._results:
                continue
            line = self._parse(each)
            if not compares:
                yield line
                continue
            if before is not None:
                if prefix_of(before.body) == prefix_of(line.body):
                    before.shares_prefix = line.shares_prefix = True
                yield before
            before = line
        if before is not None:
            yield before

    def _time_to_read(self) -> float:
        """Return the seconds for which the first line of an ordered shard goes ahead: until its prompt has been read, others that
        begin alike would find nothing."""
        fleet, home = self._context.fleet, self.shard.endpoint
        usual = fleet.health[home].latency if home in fleet.endpoints else None
        return min(LONGEST_LEAD, LEAD_TIMES_USUAL * (usual or 0.0))

    @property
    def _runs_alone(self) -> bool:
        return self.shard.lost >= LOST_TO_RUN_ALONE

    def _begin(self, run: Coroutine[Any, Any, None], line: Line | None, slot: Slot | None = None) -> asyncio.Task[None]:
        task = asyncio.create_task(run)
        self._in_flight[task] = line
        task.add_done_callback(functools.partial(self._line_ended, slot))
        return task

    def _line_ended(self, slot: Slot | None, task: asyncio.Task[None]) -> None:
        if slot is not None:
            slot.release()  # the task may have been cancelled before its first step
        del self._in_flight[task]
        if not self._in_flight:
            self._settled.set()

    async def _run_alone(self, line: Line, place: Place) -> None:
        """Run a line while no other of such a shard runs in this process, and record it before the next begins.

        If the worker dies meanwhile, this line is known to have done it. A task of its own, so that stopping cuts nothing off.
        """
        await asyncio.wait([self._begin(self._run_as_suspect(line, place), line, place.slot)])

    async def _run_as_suspect(self, line: Line, place: Place) -> None:
        async with self._context.alone:
            if not await self._context.shards.suspect(self.shard, line.number):
                self.lose()
            await self._run_safely(line, place)
            await self._context.recorder.wait_until_recorded(self)
            await self._context.shards.suspect(self.shard, None)

    async def _run_safely(self, line: Line, place: Place) -> None:
        """Run a line; trouble inside makes it wait for another attempt, so that it is neither lost nor tried for ever."""
        try:
            asked = line.body
            sent = await self._sender.send(line, place)
            await self._context.pacer.settle(self._job, asked, sent.usage if isinstance(sent, Outcome) else NO_USAGE)
            if isinstance(sent, Outcome):
                if self._cache is not None and sent.failure is None:
                    await self._cache.keep(line.cache_key, sent)
                self._record(line, sent)
                self._end_hedges(line)
            else:
                self._failures[line.number] = (line, sent)
        except RedisError as exc:
            self._failures[line.number] = (line, Failure(FailureKind.UNAVAILABLE, f"Redis is unavailable: {exc}"))
        except Exception as exc:
            log.exception("line %d of %s failed inside", line.input_number + 1, self.shard.job_id)
            self._failures[line.number] = (line, Failure(FailureKind.SERVER, f"internal error: {type(exc).__name__}"))

    async def _hedge_stragglers(self) -> None:
        """Send lines that are late to a second endpoint, once all lines of the job have been given out."""
        while not await self._is_the_end_of_the_job():
            await asyncio.sleep(LOOK_AGAIN)
        while not (self._stopped or self._runs_alone):
            late = [(task, line) for task, line in self._in_flight.items() if line is not None and self._sender.is_late(line)]
            # A line that is simply long has its turn when no other is left.
            for task, line in sorted(late, key=lambda each: not self._sender.is_overdue(each[1])):
                if self._sender.needs_hedge(line) and (target := self._sender.hedge_for(line)):
                    line.hedges, line.hedged_at = (*line.hedges, target.endpoint), asyncio.get_running_loop().time()
                    line.hedge_count += 1
                    self._hedges[line.number].add(self._begin(self._run_hedge(line, target, task), None))
            await asyncio.sleep(LOOK_EVERY)

    async def _is_the_end_of_the_job(self) -> bool:
        try:
            return await self._context.shards.is_all_cut(self.shard.job_id)
        except RedisError as exc:
            log.warning("whether %s has more lines is not known: %s", self.shard.job_id, exc)
            return False

    async def _run_hedge(self, line: Line, target: Target, first: asyncio.Task[None]) -> None:
        """Send a line once more; whichever request is answered first ends the others."""
        try:
            outcome = await self._sender.send_hedge(line, target)
        except RedisError as exc:
            log.warning("a hedge came to nothing: %s", exc)
            return
        if outcome is None:
            line.hedge_count -= 1
        elif outcome.failure is None and line.number not in self._results:
            outcome = self._sender.checked(line, outcome)
            if outcome.failure is not None:
                line.spent = (*line.spent, outcome)
        if outcome is None or outcome.failure is not None or line.number in self._results:
            line.hedges = tuple(endpoint for endpoint in line.hedges if endpoint != target.endpoint)
            return
        log.info(
            "line %d of %s: %s answered before %s", line.input_number + 1, self.shard.job_id, outcome.endpoint, line.endpoint
        )
        self._failures.pop(line.number, None)
        self._record(line, line.with_spent(outcome))
        first.cancel()
        self._end_hedges(line)

    def _end_hedges(self, line: Line) -> None:
        for hedge in self._hedges.pop(line.number, ()):
            if hedge is not asyncio.current_task():
                hedge.cancel()
