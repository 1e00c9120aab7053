"""A claimed shard with provider batches: its journal in Redis, and the results of batches that have ended. See `batch_run` for
the steps that it takes."""

import time
from collections.abc import AsyncIterator

from balancer.fleet.batches import EndpointBatches
from balancer.outcome import Failure, FailureKind, Outcome
from balancer.providers.batches import BatchState
from balancer.usage.meter import FROM_JOBS
from jobs.intake.line_order import read_places
from jobs.records import Job, Shard, plain_endpoint
from workers.batches.journal import Batch, BatchStep, write_journal
from workers.batches.lines import BatchLines, id_of
from workers.shards.claimed_shard import ClaimedShard
from workers.shards.line_sender import Line
from workers.shards.run_context import RunContext

__all__ = ["BatchShard"]


class BatchShard(ClaimedShard):
    """Keeps batches and their steps, and takes in their results."""

    def __init__(self, shard: Shard, job: Job, waits: int, context: RunContext) -> None:
        """`waits` counts how often it has waited before."""
        super().__init__(shard, job, waits, context)
        self._endpoint = plain_endpoint(shard.endpoint)
        self._journal: list[Batch] = []
        self._lines: BatchLines | None = None

    async def _unfinished(self, batches: EndpointBatches) -> BatchLines:
        if self._lines is None:
            lines = BatchLines(self._context.fleet, self._endpoint, batches)
            await lines.read(self._read_lines())
            self._failures |= lines.refused
            self._lines = lines
        return self._lines

    async def _read_lines(self) -> AsyncIterator[Line]:
        async for found in read_places(self._context.objects, self._job, self.shard.first, self.shard.end):
            if found.place not in self._results:
                line = self._parse(found)
                if not (line.cache_key and await self._use_cached(line)):
                    yield line

    async def _read(self, batch: Batch, batches: EndpointBatches, state: BatchState) -> bool:
        """Record the results of a batch that has ended, and count what they have used; False if the batch is not this one, so
        that it has to be looked for again."""
        outcomes: list[Outcome] = []
        try:
            is_ours = await self._take_results(batch, batches, state, outcomes)
        finally:  # also of a download that broke off: the lines taken in so far are not taken in again
            await self._context.recorder.wait_until_recorded(self)
            self._count(outcomes)
        if is_ours and not self.lost:
            await self._keep_step(batch, BatchStep.READ)
        return is_ours

    async def _take_results(
        self, batch: Batch, batches: EndpointBatches, state: BatchState, outcomes: list[Outcome] | None = None
    ) -> bool:
        """Take in the results of lines that are not finished, and add their outcomes to `outcomes`; False if the batch is not
        this one."""
        wanted = dict((await self._unfinished(batches)).of(batch))
        names = list(wanted)
        async for result in batches.results(state):
            name = id_of(result.id, names)
            if not name.startswith(f"{batch.token}-"):
                batch.not_ours = (*batch.not_ours, batch.id)
                await self._keep_step(batch, BatchStep.CREATING, id="")
                return False
            found = wanted.pop(name, None)
            if found is not None and result.status is not None:
                line, call = found
                outcome = batches.outcome(call, result, time.time() - batch.since)
                self._take_outcome(line, outcome)
                if outcomes is not None:
                    outcomes.append(outcome)
        if not state.ended_early:
            failure = Failure(FailureKind.INVALID_RESPONSE, "its batch ended without a result for it")
            self._failures |= {line.number: (line, failure) for line, _ in wanted.values()}
        return True

    def _take_outcome(self, line: Line, outcome: Outcome) -> None:
        """Record an answer, or what can't be answered; keep what may be answered another time."""
        line.requests += 1
        failure = outcome.failure
        if failure is None and (fault := self._fault(outcome)):
            line.spent = (*line.spent, outcome)
            failure = Failure(FailureKind.CHECK_FAILED, f"the answer does not pass {fault.check!r}: {fault.message}")
        if failure is None or not (failure.worth_trying_elsewhere or failure.kind is FailureKind.CHECK_FAILED):
            self._record(line, line.with_spent(outcome))
        else:
            line.failed_at(self._endpoint, failure)
            self._failures[line.number] = (line, failure)

    def _count(self, outcomes: list[Outcome]) -> None:
        usage = self._context.fleet.usage
        if usage is None or self.lost:
            return
        for outcome in outcomes:
            usage.record(self._context.fleet.endpoints[self._endpoint], outcome, self._job.owner, FROM_JOBS)

    async def _fail(self, batch: Batch, batches: EndpointBatches, failure: Failure) -> None:
        for line, _ in (await self._unfinished(batches)).of(batch).values():
            self._failures[line.number] = (line, failure)
        self._journal.remove(batch)
        await self._keep_journal()

    async def _keep_step(self, batch: Batch, step: BatchStep, **known: object) -> bool:
        """Keep a batch's step and what else is known of it, and say whether the shard is still this worker's."""
        batch.step = step
        for name, value in known.items():
            setattr(batch, name, value)
        # A Redis that has lost this step would have the batch created again.
        return await self._keep_journal(durably=step is BatchStep.CREATING)

    async def _keep_journal(self, durably: bool = False) -> bool:
        journal = write_journal(self._journal) if self._journal else b""
        if not await self._context.shards.keep_batches(self.shard, journal, durably):
            self.lost = True
            self._context.recorder.forget(self)
        return not self.lost
