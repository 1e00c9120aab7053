"""Runs one shard: reads its lines, sends them, records results, commits."""

import asyncio
import functools
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping
from typing import Any

import orjson
from redis.exceptions import RedisError

from balancer.fleet.slot import Slot
from balancer.outcome import NO_USAGE, Failure, FailureKind, Outcome
from balancer.routing import Attempts, GiveUp, Target
from balancer.runtime.loop import end_tasks
from balancer.usage.pricing import saving_of
from jobs.dispatch.lease_table import FinishedLine
from jobs.dispatch.waiting import after_failures
from jobs.intake.line_order import LineAt, read_places
from jobs.records import Job, Shard
from jobs.results.formats import answer_line, error_line, line_number
from jobs.results.history import LineHistory
from jobs.storage import object_store
from workers.answer_cache import AnswerCache
from workers.hedging import LOOK_EVERY
from workers.line_sender import Line, LineSender, Place
from workers.retrying import after_a_pass
from workers.run_context import Ending, RunContext, ShardEnd
from workers.shared_prefix import prefix_of

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


class ShardRun:
    """One claimed shard. `run` it once; `stop` and `abandon` hand it back early, `lose` drops it."""

    def __init__(self, shard: Shard, job: Job, waits: int, context: RunContext) -> None:
        """`waits` counts how often it has waited before."""
        self.shard = shard
        self.lost = False
        self._job = job
        self._waits = waits
        self._context = context
        self._results: dict[int, tuple[bool, bytes]] = {}
        self._histories: Mapping[int, LineHistory] = {}
        """What was tried before, by the numbers of the lines."""
        self._cache = AnswerCache(context.objects, job.owner, job.cache) if job.cache else None
        self._sender = LineSender(shard.endpoint, job, context)
        self._failures: dict[int, tuple[Line, Failure]] = {}
        """Lines that failed everywhere, by their numbers, and the last failure of each."""
        self._in_flight: dict[asyncio.Task[None], Line | None] = {}
        """None for hedges."""
        self._hedges: defaultdict[int, set[asyncio.Task[None]]] = defaultdict(set)
        """Those under way, by the numbers of their lines."""
        self._feeding: asyncio.Task[None] | None = None
        self._stopped = False
        self._settled = asyncio.Event()
        """Set when nothing is in flight any more."""
        self._announced = 0

    @property
    def done(self) -> int:
        """Lines that are terminal."""
        return len(self._results)

    @property
    def failed(self) -> int:
        """Lines that have become error lines, and those that have failed so far and wait for another attempt."""
        return sum(failed for failed, _ in self._results.values()) + len(self._failures)

    def identity(self, line: FinishedLine) -> tuple[int, str]:
        """Read a finished line's number in the input and its `custom_id` from its result."""
        return line_number(self.shard.job_id, line.result), str(orjson.loads(line.result)["custom_id"])

    def correct(self, line: FinishedLine) -> None:
        """Take another result for a line whose own one can't be recorded."""
        self._results[line.number] = (line.failed, line.result)

    def stop(self) -> None:
        """Begin no more lines; those in flight may finish (see `abandon`)."""
        self._stopped = True
        if self._feeding:
            self._feeding.cancel()

    def abandon(self) -> None:
        """Abort the requests in flight. Their lines will be sent again, unless the job has ended."""
        self.stop()
        for task in self._in_flight:
            task.cancel()

    def lose(self) -> None:
        """Drop everything, and abort the requests in flight: the shard belongs to another worker."""
        self.lost = True
        self._context.recorder.forget(self)
        self.abandon()

    async def run(self) -> ShardEnd:
        """Run the lines that are not finished yet. Raises RedisError, ObjectStoreError and OSError; what was recorded stays."""
        self._results = await self._context.shards.finished(self.shard)
        if self.shard.attempt:
            self._histories = await self._context.shards.histories(self.shard)
            self._sender.passes = {number: each.passes for number, each in self._histories.items() if each.passes}
        await self._send_lines()
        await self._context.recorder.wait_until_recorded(self)
        if self.lost:
            return ShardEnd(Ending.LOST)
        if self._stopped:
            returned = await self._context.shards.give_back(self.shard.job_id, self.shard.first, self.shard.token)
            return ShardEnd(Ending.RETURNED if returned else Ending.LOST)
        if len(self._results) < self.shard.lines:
            waiting = await self._wait_or_give_up()
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

    async def _use_cached(self, line: Line) -> bool:
        """Take the answer of another job, if there is one that passes the checks of this one."""
        assert self._cache is not None
        outcome = await self._cache.find(line.cache_key)
        if outcome is None or not self._sender.accepts(outcome):
            return False
        result = answer_line(self.shard.job_id, line.input_number, line.custom_id, outcome, line.tried(), cached=True)
        self._keep(FinishedLine(line.number, result, False, NO_USAGE, cost=0.0, repeats=line.repeats))
        return True

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

    def _blame(self, line: Line) -> None:
        """Make an error line of one that its workers did not survive."""
        message = f"{self.shard.lost} workers were lost while this line was running; it is not sent again"
        result = self._error_line(line, "worker_lost", message)
        usage, cost = line.rejected()
        self._keep(FinishedLine(line.number, result, True, usage, cost=cost, repeats=line.repeats))

    def _parse(self, found: LineAt) -> Line:
        number, raw = found.place, found.raw
        entry = orjson.loads(raw)
        body = entry["body"]
        attempts = Attempts(self._context.fleet.catalog.routes.models_for(body))
        path = entry["url"].removeprefix("/v1")
        line = Line(number, found.number, entry["custom_id"], path, body, attempts, found.repeats)
        if self._cache is not None:
            line.cache_key = self._cache.key(path, body)
        if number in self._histories:
            line.history = self._histories[number]
        return line

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

    def _record(self, line: Line, outcome: Outcome) -> None:
        failed = outcome.failure is not None
        if outcome.body:
            loser = line.hedges[0] if line.hedges and outcome.endpoint == line.endpoint else line.endpoint
            hedge = (outcome.endpoint, loser) if line.hedges else None
            result = answer_line(self.shard.job_id, line.input_number, line.custom_id, outcome, line.tried(), hedge)
        else:
            failure = outcome.failure or Failure(FailureKind.INVALID_RESPONSE, "no answer")
            result = self._error_line(line, failure.kind, failure.message)
        # What was refused before it used a token costs nothing, whether the endpoint's price is known or not.
        cost = 0.0 if failed and outcome.usage == NO_USAGE else outcome.cost
        endpoint = self._context.fleet.endpoints.get(outcome.endpoint)
        saved = saving_of(outcome.usage, endpoint, outcome.model, outcome.tier) if endpoint is not None else 0.0
        self._keep(FinishedLine(line.number, result, failed, outcome.usage, outcome.endpoint, cost, saved, line.repeats))

    def _error_line(self, line: Line, code: str, message: str) -> bytes:
        return error_line(self.shard.job_id, line.input_number, line.custom_id, code, message, line.tried())

    def _keep(self, line: FinishedLine) -> None:
        if not self.lost:
            self._results[line.number] = (line.failed, line.result)
            self._context.recorder.add(self, line)

    async def _wait_or_give_up(self) -> ShardEnd | None:
        """Send the failed lines to wait for their next attempt, or make them error lines when they have had their attempts."""
        failures = {number: failure for number, (_, failure) in self._failures.items()}
        decision = after_a_pass(failures, self._sender.passes, self._waits, self._context.policy, self._context.rng)
        if decision.given_up:
            await self._give_up(decision.given_up)
            if self.done == self.shard.lines:
                return None
        table, left = self._context.shards, self.shard.lines - self.done
        why = after_failures([failure for _, failure in self._failures.values()], time.time() + decision.countdown)
        tried = {number: self._failures[number][0].tried(passes) for number, passes in decision.waiting.items()}
        waiting = await table.send_to_wait(self.shard, self._sender.another_endpoint(), tried, decision.countdown, why)
        log.info("%d lines of %s wait %.1f s", left, self.shard, decision.countdown)
        return ShardEnd(Ending.RETRY, waiting, decision.countdown) if waiting else ShardEnd(Ending.LOST)

    async def _give_up(self, numbers: Collection[int]) -> None:
        """Make error lines of those that have had their attempts."""
        for number in numbers:
            line, failure = self._failures.pop(number)
            result = self._error_line(line, failure.kind, failure.message)
            usage, cost = line.rejected()
            self._keep(FinishedLine(number, result, True, usage, cost=cost, repeats=line.repeats))
        await self._context.recorder.wait_until_recorded(self)

    async def _close(self) -> ShardEnd:
        """Write the part and commit."""
        lines: list[bytes] = []
        for number in range(self.shard.first, self.shard.end):
            failed, result = self._results[number]
            lines += (b"1" if failed else b"0", result, b"\n")
        path = object_store.part_path(self.shard.job_id, self.shard.first, self.shard.end, self._job.round)
        await self._context.objects.write(path, b"".join(lines))
        ours, last = await self._context.shards.commit(self.shard)
        if not ours:
            return ShardEnd(Ending.LOST)
        return ShardEnd(Ending.LAST if last else Ending.COMMITTED)
