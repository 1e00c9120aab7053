"""A shard that this process has claimed: its results so far, and how it ends. See `shard_run` and `batch_run` for its lines."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping

import orjson

from balancer.outcome import NO_USAGE, Failure, FailureKind, Outcome
from balancer.routing import Attempts
from balancer.usage.pricing import saving_of
from jobs.access.destination import drop_destination
from jobs.checks.answer_checks import Fault, checks_of
from jobs.dispatch.lease_table import FinishedLine
from jobs.intake.line_order import LineAt
from jobs.records import Job, Shard
from jobs.records.waiting import after_failures
from jobs.results.formats import answer_line, error_line, line_number
from jobs.results.history import LineHistory
from jobs.storage import object_store
from workers.shards.answer_cache import AnswerCache
from workers.shards.line_sender import Line, answer_body
from workers.shards.retrying import after_a_pass
from workers.shards.run_context import Ending, RunContext, ShardEnd

__all__ = ["ClaimedShard"]

log = logging.getLogger(__name__)


class ClaimedShard(ABC):
    """`run` it once; `stop` and `abandon` hand it back early, `lose` drops it."""

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
        self._passes: Mapping[int, int] = {}
        """Those of them that lines have failed by what may be their own fault."""
        self._checks = checks_of(job.checks) if job.checks else None
        self._cache = AnswerCache(context.objects, job.owner, job.cache) if job.cache else None
        self._failures: dict[int, tuple[Line, Failure]] = {}
        """Lines that failed everywhere, by their numbers, and the last failure of each."""

    @abstractmethod
    async def run(self) -> ShardEnd:
        """Run the lines that are not finished yet. Raises RedisError, ObjectStoreError and OSError; what was recorded stays."""

    @abstractmethod
    def stop(self) -> None:
        """Begin no more lines; those in flight may finish (see `abandon`)."""

    @abstractmethod
    def abandon(self) -> None:
        """Abort the requests in flight. Their lines will be sent again, unless the job has ended."""

    def interrupt(self) -> None:
        """End soon: the process is to end."""
        self.abandon()

    def lose(self) -> None:
        """Drop everything, and abort the requests in flight: the shard belongs to another worker."""
        self.lost = True
        self._context.recorder.forget(self)
        self.interrupt()

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

    async def _load(self) -> None:
        """Read what is recorded already, and what was tried."""
        self._results = await self._context.shards.finished(self.shard)
        if self.shard.attempt:
            self._histories = await self._context.shards.histories(self.shard)
            self._passes = {number: each.passes for number, each in self._histories.items() if each.passes}

    async def _return(self) -> ShardEnd:
        returned = await self._context.shards.give_back(self.shard.job_id, self.shard.first, self.shard.token)
        return ShardEnd(Ending.RETURNED if returned else Ending.LOST)

    def _fault(self, outcome: Outcome) -> Fault | None:
        """Return what is wrong with an answer by the job's checks."""
        return self._checks.fault(answer_body(outcome)) if self._checks is not None else None

    async def _use_cached(self, line: Line) -> bool:
        """Take the answer of another job, if there is one that passes the checks of this one."""
        assert self._cache is not None
        outcome = await self._cache.find(line.cache_key)
        if outcome is None or self._fault(outcome):
            return False
        result = answer_line(self.shard.job_id, line.input_number, line.custom_id, outcome, line.tried(), cached=True)
        self._keep(FinishedLine(line.number, result, False, NO_USAGE, cost=0.0, repeats=line.repeats))
        return True

    def _parse(self, found: LineAt) -> Line:
        number, raw = found.place, found.raw
        entry = orjson.loads(raw)
        body = entry["body"]
        if self._job.is_restricted:
            drop_destination(body)
        attempts = Attempts(self._context.fleet.catalog.routes.models_for(body))
        path = entry["url"].removeprefix("/v1")
        line = Line(number, found.number, entry["custom_id"], path, body, attempts, found.repeats)
        if self._cache is not None:
            line.cache_key = self._cache.key(path, body)
        if number in self._histories:
            line.history = self._histories[number]
        return line

    def _blame(self, line: Line) -> None:
        """Make an error line of one that its workers did not survive."""
        message = f"{self.shard.lost} workers were lost while this line was running; it is not sent again"
        result = self._error_line(line, "worker_lost", message)
        usage, cost = line.rejected()
        self._keep(FinishedLine(line.number, result, True, usage, cost=cost, repeats=line.repeats))

    def _record(self, line: Line, outcome: Outcome) -> None:
        failed = outcome.failure is not None
        hedge = None
        if outcome.body:
            if line.hedges:
                hedge = (outcome.endpoint, line.hedges[0] if outcome.endpoint == line.endpoint else line.endpoint)
            result = answer_line(self.shard.job_id, line.input_number, line.custom_id, outcome, line.tried(), hedge)
        else:
            failure = outcome.failure or Failure(FailureKind.INVALID_RESPONSE, "no answer")
            result = self._error_line(line, failure.kind, failure.message)
        # What was refused before it used a token costs nothing, whether the endpoint's price is known or not.
        cost = 0.0 if failed and outcome.usage == NO_USAGE else outcome.cost
        endpoint = self._context.fleet.endpoints.get(outcome.endpoint)
        saved = saving_of(outcome.usage, endpoint, outcome.model, outcome.tier) if endpoint is not None else 0.0
        used = (outcome.usage, outcome.endpoint, cost, saved)
        self._keep(FinishedLine(line.number, result, failed, *used, repeats=line.repeats, hedged=hedge is not None))

    def _error_line(self, line: Line, code: str, message: str) -> bytes:
        return error_line(self.shard.job_id, line.input_number, line.custom_id, code, message, line.tried())

    def _keep(self, line: FinishedLine) -> None:
        if not self.lost:
            self._results[line.number] = (line.failed, line.result)
            self._context.recorder.add(self, line)

    async def _wait_or_give_up(self, endpoint: str) -> ShardEnd | None:
        """Send the failed lines to wait for their next attempt, in the queue of `endpoint`, or make them error lines when they
        have had their attempts."""
        failures = {number: failure for number, (_, failure) in self._failures.items()}
        decision = after_a_pass(failures, self._passes, self._waits, self._context.policy, self._context.rng)
        if decision.given_up:
            await self._give_up(decision.given_up)
            if self.done == self.shard.lines:
                return None
        table, left = self._context.shards, self.shard.lines - self.done
        if not self._failures:
            return await self._return()  # lines are left that have not failed
        why = after_failures([failure for _, failure in self._failures.values()], time.time() + decision.countdown)
        tried = {number: self._failures[number][0].tried(passes) for number, passes in decision.waiting.items()}
        waiting = await table.send_to_wait(self.shard, endpoint, tried, decision.countdown, why)
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
