"""The engine of a worker process: one asyncio loop on its own thread that runs all shards."""

import asyncio
import concurrent.futures
import functools
import logging
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable, Sequence

from redis.exceptions import RedisError

from balancer.configuration import Configuration
from balancer.endpoint import Endpoint
from balancer.runtime.events import add_to_context, log_context
from balancer.runtime.loop import end_tasks, new_event_loop
from balancer.runtime.tracing import job_span
from balancer.state.redis_connection import without_password
from jobs.access.pacing import KeyPacer
from jobs.dispatch.dispatcher import announce_serving
from jobs.dispatch.lease_table import Order
from jobs.dispatch.presence import Presence
from jobs.dispatch.queueing import Wake
from jobs.errors import JobError, ShardIncomplete
from jobs.fleet.changes import FleetChanges
from jobs.node import Node, open_node
from jobs.records import Shard
from jobs.records.ids import new_token
from jobs.records.waiting import Waiting
from jobs.results.endings import Endings
from jobs.storage.object_store import ObjectStoreError
from jobs.upkeep.janitor import Janitor
from jobs.upkeep.sweep import Sweep
from jobs.webhooks.delivery import Deliveries
from workers.batches.batch_run import BatchRun
from workers.shards.claimed_shard import ClaimedShard
from workers.shards.hedging import Hedging
from workers.shards.recorder import Recorder
from workers.shards.retrying import RetryPolicy
from workers.shards.run_context import Ending, RunContext, ShardEnd
from workers.shards.shard_run import ShardRun

__all__ = ["Engine", "Progress"]

BEAT_EVERY = 0.5
"""Seconds between keeping leases, which is also how long the requests of a cancelled job stay at their endpoints."""
SERVING_SECONDS = 6.0
"""Seconds until a silent worker is not counted on any more."""
STOP_GRACE = 7.0
"""Seconds that lines in flight have when the worker is asked to stop; the rest of ten is for handing back."""
START_SECONDS = 30.0
DIED_EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: start me again."""
STORE_PAUSE = 5.0
"""Seconds that a shard waits when the object store failed it."""

log = logging.getLogger(__name__)


class Progress:
    """The progress of a shard, for display."""

    def __init__(self, lines: int) -> None:
        self.lines = lines
        self.run: ClaimedShard | None = None

    def __str__(self) -> str:
        if self.run is None:
            return f"0/{self.lines} lines"
        failed = f", {self.run.failed} failed" if self.run.failed else ""
        return f"{self.run.done}/{self.lines} lines{failed}"


class Engine:
    """`start` it once, then `run_shard` from any thread; `drain` before `stop`."""

    def __init__(
        self,
        configuration: Configuration,
        redis_url: str,
        wake: Wake,
        endpoints: Sequence[str] = (),
        on_served: Callable[[Sequence[str]], object] = lambda names: None,
    ) -> None:
        """`endpoints` are those to work for, all of the fleet if there are none. `on_served` is called with their names at the
        start and whenever that changes, on the engine's thread."""
        self._configuration = configuration
        self._redis_url = redis_url
        self._wake = wake
        self._only = frozenset(endpoints)
        self._on_served = on_served
        self._served: list[str] = []
        self._loop = new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="engine", daemon=True)
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._closing = asyncio.Event()
        self._draining = threading.Event()
        self._drained = False
        self._runs: set[ClaimedShard] = set()
        self._background: set[asyncio.Task[object]] = set()
        self.heard_at = time.monotonic()
        """When a message last came."""

    @property
    def running(self) -> int:
        """Shards that run now."""
        return len(self._runs)

    @property
    def fleet_endpoints(self) -> list[Endpoint]:
        """The endpoints of the fleet now."""
        return list(self._node.fleet.endpoints.values())

    def start(self) -> None:
        """Start the loop and connect. Raises SharedStateUnavailable if Redis does not answer."""
        self._thread.start()
        self._ready.result(START_SECONDS)

    def begin_drain(self) -> None:
        """Take no more lines on and hand back what is left within ten seconds. Safe in a signal handler: it sets a flag."""
        self._draining.set()

    def stop(self) -> None:
        """Close everything; running shards have ended by then."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join(10)

    def submit(
        self, job_id: str, first: int, end: int, token: str, waits: int, progress: Progress
    ) -> "concurrent.futures.Future[ShardEnd]":
        """Begin a shard, from any thread, and return the future of its end."""
        self.heard_at = time.monotonic()
        shard = Shard(job_id, first, end, "", token)
        return asyncio.run_coroutine_threadsafe(self._run_shard(shard, waits, progress), self._loop)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live())
        except Exception as exc:
            if not self._ready.done():
                self._ready.set_exception(exc)
            else:
                log.exception("the engine died")
        # The loop is not closed: threads of the object store (Rust) may still come to it, and the process ends now anyway.

    async def _live(self) -> None:
        async with open_node(self._configuration, self._redis_url, self._wake) as node:
            self._node = node
            node.follower.on_change = self._serve
            self._serve()
            recorder = Recorder(node.service.shards)
            recording = recorder.start()
            self._context = RunContext(
                node.fleet,
                node.service.shards,
                node.objects,
                recorder,
                RetryPolicy(),
                random.Random(),
                Hedging(self._configuration.most_hedges),
                KeyPacer(node.redis),
            )
            self._endings = Endings(node.service.assembly, node.service.jobs)
            presence = Presence(node.redis, self._redis_url, node.process)
            janitor = _janitor(node, self._endings, presence)
            beat = asyncio.create_task(self._beat_forever(node), name="beat")
            sweep = asyncio.create_task(janitor.run_forever(), name="janitor")
            for name, duty in (("recorder", recording), ("beat", beat), ("janitor", sweep)):
                duty.add_done_callback(functools.partial(_end_with, name))
            await presence.start()
            await announce_serving(node.redis, node.process, self._served, SERVING_SECONDS)
            self._in_background(node.service.dispatcher.run())
            self._ready.set_result(None)
            log.info("engine %s ready: redis %s", node.process, without_password(self._redis_url))
            await self._closing.wait()
            await end_tasks(beat, sweep, *self._background)
            await self._endings.aclose()
            await recorder.aclose()
            await presence.aclose()
            try:
                await janitor.leave()
                await announce_serving(node.redis, node.process, [], 0)
            except RedisError as exc:
                log.warning("leaving without saying so: Redis is unavailable (%s)", exc)

    def _serve(self) -> None:
        """Work for the endpoints that there are now."""
        served = [name for name in self._node.fleet.endpoints if not self._only or name in self._only]
        if served != self._served:
            self._served = served
            self._on_served(served)

    async def _run_shard(self, message: Shard, waits: int, progress: Progress) -> ShardEnd:
        try:
            with log_context(job=message.job_id):
                return await self._claim_and_run(message, waits, progress)
        except (ObjectStoreError, OSError, RedisError) as exc:
            log.error("lines from %d of %s can't go on for now: %s", message.first + 1, message.job_id, exc)
            return await self._put_off(progress, exc)

    async def _claim_and_run(self, message: Shard, waits: int, progress: Progress) -> ShardEnd:
        table = self._node.service.shards
        # A copy of a message has everything in common with it, so the claim is named after this very execution.
        claim = await table.claim(
            message.job_id, message.first, message.end, message.token, f"{self._node.process}/{new_token()}"
        )
        if claim.shard is None:
            if claim.reason == "stopped":
                await table.give_back(message.job_id, message.first, message.token)
                self._endings.begin(message.job_id)
            log.info("message for %s:%d dropped: %s", message.job_id, message.first, claim.reason)
            return ShardEnd(Ending.LOST)
        add_to_context(endpoint=claim.shard.endpoint)
        job = await self._node.service.jobs.get(message.job_id)
        kind = BatchRun if claim.shard.is_batch else ShardRun
        run = kind(claim.shard, job, waits, self._context)
        progress.run = run
        self._runs.add(run)
        if self._draining.is_set():
            run.stop()
        try:
            with job_span(job.trace, job.id, claim.shard.endpoint, message.first, claim.shard.lines):
                end = await run.run()
        except ShardIncomplete as exc:
            log.error("%s; it is cut again", exc)
            await table.give_back(message.job_id, message.first, message.token)
            end = ShardEnd(Ending.RETURNED)
        finally:
            self._runs.discard(run)
        if end.ending in (Ending.LAST, Ending.RETURNED):
            self._endings.begin(message.job_id)
        self._in_background(self._node.service.dispatcher.run())
        return end

    async def _put_off(self, progress: Progress, error: Exception) -> ShardEnd:
        """Let a shard wait that Redis or the object store failed; if that can't be recorded either, its lease runs out."""
        run = progress.run
        if run is None:
            return ShardEnd(Ending.LOST)
        why = Waiting.because(f"Redis or the object store can't be used: {error}", time.time() + STORE_PAUSE)
        try:
            waiting = await self._node.service.shards.send_to_wait(run.shard, run.shard.endpoint, {}, STORE_PAUSE, why)
        except RedisError:
            return ShardEnd(Ending.LOST)
        return ShardEnd(Ending.RETRY, waiting, STORE_PAUSE) if waiting else ShardEnd(Ending.LOST)

    def _in_background(self, work: Awaitable[object]) -> None:
        task = asyncio.ensure_future(_logged(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _beat_forever(self, node: Node) -> None:
        """Keep the leases of running shards, carry out orders, say whose queues are listened to, and drain when asked to."""
        while True:
            if self._draining.is_set():
                await self._drain(node)
                return
            try:
                await announce_serving(node.redis, node.process, self._served, SERVING_SECONDS)
                await self._keep_leases(node)
            except RedisError as exc:
                log.warning("leases can't be kept: %s", exc)
            await asyncio.to_thread(self._draining.wait, BEAT_EVERY)

    async def _keep_leases(self, node: Node) -> None:
        runs = [run for run in self._runs if not run.lost]
        if not runs:
            return
        orders = await node.service.shards.renew([run.shard for run in runs])
        for run, order in zip(runs, orders, strict=True):
            if order is Order.LOST:
                log.info("%s belongs to another worker now", run.shard)
                run.lose()
            elif order is Order.STOP:
                run.stop()
            elif order is Order.END:
                run.abandon()

    async def _drain(self, node: Node) -> None:
        log.info("stopping: %d shards are handed back within %.0f s", len(self._runs), STOP_GRACE)
        deadline = time.monotonic() + STOP_GRACE
        with_redis = True
        while self._runs or with_redis:
            for run in self._runs:
                run.stop()
                if time.monotonic() > deadline:
                    run.interrupt()
            try:
                await announce_serving(node.redis, node.process, [], 0)
                await self._keep_leases(node)
                with_redis = False
            except RedisError as exc:
                log.warning("leases can't be kept: %s", exc)
                with_redis = False
            await asyncio.sleep(0.1)


def _janitor(node: Node, endings: Endings, presence: Presence) -> Janitor:
    service = node.service
    return Janitor(
        node.process,
        node.redis,
        node.fleet,
        service.jobs,
        service.shards,
        endings,
        Sweep(node.redis, service.jobs, service.files, node.objects),
        service.dispatcher,
        node.configuration.health_check,
        FleetChanges(node.redis, node.configuration.endpoints),
        Deliveries(node.redis, service.jobs, node.configuration.private_webhooks),
        lambda: presence.unbroken_for,
    )


async def _logged(work: Awaitable[object]) -> object:
    try:
        return await work
    except (RedisError, ObjectStoreError, OSError, JobError) as exc:
        log.error("left to the janitor: %s", exc)
        return None


def _end_with(name: str, task: "asyncio.Task[None]") -> None:
    """End the process with the duty that died: without it nothing of its work would be kept, while its leases went on."""
    if not task.cancelled() and (error := task.exception()):
        log.critical("the engine's %s died; this worker ends, to be started again", name, exc_info=error)
        logging.shutdown()
        os._exit(DIED_EXIT_CODE)
