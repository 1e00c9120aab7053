"""Runs a shard whose lines are handed in as a provider's batches: one step at a time, each of them short.

The lines are divided by model into batches (see `batch_journal`), which are uploaded, created, polled, and read when they have
ended. Between two polls the shard waits in its queue, as one does that waits for another attempt. Each step is kept in Redis
before and after it is taken; whoever claims the shard next goes on from there, and looks for a batch that may have been created
before it creates one. Lines that the provider did not process, or failed at, go back to the job."""

import asyncio
import logging
import time
from dataclasses import replace

from balancer.fleet.batches import EndpointBatches
from balancer.outcome import Failure, FailureKind, Outcome
from balancer.providers.batches import BatchCallFailed, BatchState, Submission
from balancer.routing import backoff
from balancer.usage.price_class import PriceClass
from jobs.dispatch.batches import batches_end, pace_of
from jobs.records import Job, Shard
from jobs.records.ids import new_token
from jobs.records.waiting import Waiting
from workers.batches.batch_shard import BatchShard
from workers.batches.journal import Batch, BatchStep, read_journal
from workers.shards.retrying import LONGEST_COUNTDOWN
from workers.shards.run_context import Ending, RunContext, ShardEnd

__all__ = ["BatchRun"]

SETTLED_AFTER = 15.0
"""Seconds after which a batch that may have been created, and is not found, has not been."""
SEND_WITHIN = 5.0
"""Seconds after its step was kept within which a batch is created: a worker that was frozen for longer has lost the shard, and
the next one creates it, but not before SETTLED_AFTER."""
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between two polls of a batch: a twentieth of its age, within these."""
POLL_WHILE_CANCELLING = 5.0
FULL_QUEUE_WAIT = 60.0
"""Seconds until a batch is created again for which the provider's queue had no room."""
UNREACHABLE_AFTER = 3600.0
"""Seconds after the end of a job for which its batches are polled where the provider does not answer."""

log = logging.getLogger(__name__)


class BatchRun(BatchShard):
    """A claimed shard whose lines are, or are to be, with a provider as batches."""

    def __init__(self, shard: Shard, job: Job, waits: int, context: RunContext) -> None:
        """`waits` counts how often it has waited before."""
        super().__init__(shard, job, waits, context)
        self._stopped = False
        self._steps: asyncio.Task[ShardEnd] | None = None
        self._poll_in = LONGEST_COUNTDOWN
        """Seconds until the next poll."""
        self._progress: list[str] = []

    def stop(self) -> None:
        self._stopped = True

    def abandon(self) -> None:
        """Begin nothing: what batches have cost is fetched whatever becomes of the job."""
        self.stop()

    def interrupt(self) -> None:
        self.stop()
        if self._steps is not None:
            self._steps.cancel()

    async def run(self) -> ShardEnd:
        self._steps = asyncio.create_task(self._take_steps())
        await asyncio.wait([self._steps])
        if not self._steps.cancelled():
            return self._steps.result()
        return ShardEnd(Ending.LOST) if self.lost else await self._poll_later(SHORTEST_PAUSE)

    async def _take_steps(self) -> ShardEnd:
        await self._load()
        kept = await self._context.shards.batches(self.shard)
        self._journal = read_journal(kept) if kept else []
        batches = self._context.fleet.batches(self._endpoint)
        if batches is None:
            return await self._without_batches()
        if not kept:
            if self._stopped or self._endpoint in self._context.fleet.draining or time.time() >= self._end():
                return await self._return()
            await self._begin(batches)
        for batch in [each for each in self._journal if each.step is not BatchStep.READ]:
            await self._advance(batch, batches)
        if not self.lost and all(batch.step is BatchStep.READ for batch in self._journal):
            await self._finish(batches)
        await self._context.recorder.wait_until_recorded(self)
        return await self._end_run()

    async def _end_run(self) -> ShardEnd:
        if self.lost:
            return ShardEnd(Ending.LOST)
        if self._journal:
            return await self._poll_later(self._poll_in)
        if self.done < self.shard.lines:
            if self._job.ending or not self._failures:
                return await self._return()
            if waiting := await self._wait_or_give_up(self.shard.endpoint):
                return waiting
        return await self._close()

    async def _without_batches(self) -> ShardEnd:
        """Wait for the endpoint's setting to come back, as long as there are batches."""
        if not self._journal:
            return await self._return()
        self._progress.append(f"{self._endpoint} has no `batch: true` any more, and has batches of it")
        return await self._poll_later(LONGEST_PAUSE)

    def _end(self) -> float:
        """Return until when (s since the epoch) lines of the job may be in batches."""
        job, fleet = self._job, self._context.fleet
        if job.ending or job.no_batches:
            return 0.0
        names = {name for model in job.asked_models for name in fleet.catalog.serving(model or None)}
        pace = pace_of((fleet.limits[name].value, fleet.health[name].latency) for name in names)
        window = job.expires_at - job.times.get("in_progress_at", job.created_at)
        left = job.ledger.total - job.ledger.done
        return batches_end(self._price_class, job.expires_at, window, left, pace)

    @property
    def _price_class(self) -> str:
        return self._job.price_class or self._context.fleet.endpoints[self._endpoint].price_class

    async def _begin(self, batches: EndpointBatches) -> None:
        """Divide the lines into batches, and keep these."""
        now = time.time()
        lines = await self._unfinished(batches)
        self._journal = [Batch(new_token(), model, path, now) for model, path in lines.groups()]
        if self._journal:
            await self._keep_journal()

    async def _advance(self, batch: Batch, batches: EndpointBatches) -> None:
        """Take a batch as far as it goes now."""
        if self.lost:
            return
        try:
            if batch.step is not BatchStep.CREATED:
                await self._create(batch, batches)
            if batch.step is BatchStep.CREATED and not self.lost:
                await self._poll(batch, batches)
        except BatchCallFailed as exc:
            await self._call_failed(batch, batches, exc)

    async def _call_failed(self, batch: Batch, batches: EndpointBatches, error: BatchCallFailed) -> None:
        failure = error.failure
        log.warning("batch of %s: %s", self.shard, failure.message)
        out = batch.step in (BatchStep.CREATING, BatchStep.CREATED)
        if (batch.step is BatchStep.CREATED and failure.status == 404) or (out and self._is_unreachable()):
            log.error("batch %s at %s can't be found any more; its lines go back", batch.id or batch.token, self._endpoint)
            await self._fail(batch, batches, failure)
            return
        if batch.step is not BatchStep.CREATED and error.answered and not failure.passes:
            await self._refused(batch, batches, failure)
            return
        self._progress.append(f"{self._endpoint}: {failure.public_message}")
        wait = max(failure.retry_after or 0.0, backoff(self._waits, SHORTEST_PAUSE, LONGEST_PAUSE, self._context.rng))
        self._poll_in = min(self._poll_in, wait)

    def _is_unreachable(self) -> bool:
        if not self._job.ending:
            return False
        ended_at = self._job.times.get("cancelling_at", self._job.expires_at)
        return time.time() > ended_at + UNREACHABLE_AFTER

    async def _create(self, batch: Batch, batches: EndpointBatches) -> None:
        """Upload a batch's requests and create it, unless it is found to exist."""
        requests = (await self._unfinished(batches)).requests(batch)
        submission = Submission(batch.token, batch.model, batch.path, requests, batch.since)
        if batch.step is BatchStep.CREATING:
            known = [*batch.not_ours, *await self._ids_of_others()]
            if (found := await batches.find(submission, known)) is not None:
                await self._keep_step(batch, BatchStep.CREATED, id=found)
                return
            if time.time() - batch.tried_at < SETTLED_AFTER:
                self._poll_in = SHORTEST_PAUSE
                return
        if self._stopped or time.time() >= self._end():
            self._journal.remove(batch)  # nothing of it is at the provider
            await self._keep_journal()
            return
        content = batches.api.content(submission)
        if batches.api.has_files and not batch.file:
            await self._keep_step(batch, BatchStep.UPLOADED, file=await batches.upload(batch.token, content))
        if not await self._keep_step(batch, BatchStep.CREATING, tried_at=time.time()):
            return
        try:
            submission = replace(submission, send_by=time.monotonic() + SEND_WITHIN)
            made = await batches.create(submission, content, batch.file)
        except BatchCallFailed as exc:
            if exc.answered:
                await self._keep_step(batch, BatchStep.UPLOADED)
            raise
        await self._keep_step(batch, BatchStep.CREATED, id=made)
        log.info("%s: batch %s of %d requests", self.shard, made, len(requests))

    async def _ids_of_others(self) -> list[str]:
        kept = await self._context.shards.batches_at(self.shard.endpoint)
        return [batch.id for journal in kept for batch in read_journal(journal) if batch.id]

    async def _poll(self, batch: Batch, batches: EndpointBatches) -> None:
        """Ask how far a batch is, and read its results when it has ended."""
        state = await batches.state(batch.id)
        if not state.has_ended:
            await self._not_ended(batch, batches, state)
        elif state.retry_later:
            # The one that was refused would be found by the same token.
            batch.token = new_token()
            await self._keep_step(batch, BatchStep.NEW, id="", file="")
            self._progress.append(f"{self._endpoint}: {state.problem}")
            self._poll_in = min(self._poll_in, FULL_QUEUE_WAIT)
        elif state.problem:
            await self._refused(batch, batches, Failure(FailureKind.BAD_REQUEST, f"the batch was refused: {state.problem}"))
        else:
            if not await self._read(batch, batches, state):
                self._poll_in = SHORTEST_PAUSE

    async def _not_ended(self, batch: Batch, batches: EndpointBatches, state: BatchState) -> None:
        now, end = time.time(), self._end()
        wait = min(LONGEST_PAUSE, max(SHORTEST_PAUSE, (now - batch.since) / 20))
        if now < end:
            wait = min(wait, max(SHORTEST_PAUSE, end - now))
        else:
            wait = min(wait, POLL_WHILE_CANCELLING)
            if not state.is_cancelling:
                await batches.cancel(batch.id)
        self._poll_in = min(self._poll_in, wait)
        self._progress.append(f"{self._endpoint} has processed {state.done:,} of {state.total:,} lines of a batch")

    async def _refused(self, batch: Batch, batches: EndpointBatches, failure: Failure) -> None:
        """Give up a batch that the provider does not take: its lines fail, or the job goes on without batches, if it may."""
        log.error("batch of %s was refused: %s", self.shard, failure.message)
        if self._price_class == PriceClass.CHEAPEST:
            await self._context.shards.end_batches(self.shard, failure.public_message)
        else:
            for line, _ in (await self._unfinished(batches)).of(batch).values():
                self._record(line, Outcome(self._endpoint, 0.0, failure=failure))
        self._journal.remove(batch)
        await self._keep_journal()

    async def _finish(self, batches: EndpointBatches) -> None:
        """Forget batches that have all been read, here and at the provider. What failed in them before another worker had the
        shard is read again."""
        states = []
        lines = await self._unfinished(batches)
        for batch in self._journal:
            try:
                state = await batches.state(batch.id)
                if any(line.number not in self._failures for line, _ in lines.of(batch).values()):
                    await self._take_results(batch, batches, state)
            except BatchCallFailed as exc:
                await self._call_failed(batch, batches, exc)
                return
            states.append((state, batch.file))
        self._journal = []
        await self._keep_journal()
        for state, file in states if not self.lost else ():
            try:
                await batches.delete(state, file)
            except BatchCallFailed as exc:
                log.warning("what %s keeps of batch %s can't be deleted: %s", self._endpoint, state.id, exc)

    async def _poll_later(self, seconds: float) -> ShardEnd:
        """Have the shard claimed again in so many seconds."""
        why = Waiting.because(
            "; ".join(dict.fromkeys(self._progress)) or "its batches are being handed in", time.time() + seconds
        )
        shard = self.shard
        waiting = await self._context.shards.requeue(shard.job_id, shard.first, shard.token, seconds, why)
        return ShardEnd(Ending.RETRY, waiting, seconds) if waiting is not None else await self._return()
