"""The dispatcher: plans, reserves and publishes the next shards.

Runs wherever something changed: a job was opened, a shard ended. The janitor runs it too, as a safety net. Any number of
processes may dispatch at once: a plan that another one has overtaken is made again.
"""

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
from redis.exceptions import RedisError

from balancer.fleet.fleet import Fleet
from balancer.routing import BalancingStrategy
from balancer.state.health import Circuit
from balancer.state.rate_limits.shared import EXPECTED_COMPLETION
from balancer.state.redis_connection import AsyncRedis
from balancer.usage.price_class import PriceClass
from jobs.access.pacing import paced_lines
from jobs.access.spending import left_of_budgets
from jobs.cost.affordable import FEWEST_LINES, SpendingRoom, affordable_lines
from jobs.cost.cap import BYTES_OF_A_TOKEN, highest_line_cost
from jobs.dispatch.batches import BatchLoad, batches_end, pace_of, plan_batches
from jobs.dispatch.deadlines import Outlook, outlook
from jobs.dispatch.lease_table import ShardTable
from jobs.dispatch.planning import EndpointLoad, JobNeed, Plan, plan
from jobs.dispatch.queueing import Wake
from jobs.dispatch.sizing import ReturnedRange
from jobs.errors import QueueUnavailable
from jobs.records import Shard, as_batch
from jobs.records.waiting import Waiting, at_endpoints
from jobs.storage import keys

__all__ = ["Dispatcher", "announce_serving"]

JOBS_AT_ONCE = 64
"""Jobs, in the order of their turns, that are read at once; those behind them only if nothing of these can be given out."""
JOBS_LOOKED_AT = 2048
RETURNED_LOOKED_AT = 64
MARK_EVERY = 5.0
"""Seconds between saying again that a job waits for endpoints."""
TRIES = 20
"""Plans that may be overtaken before the rest is left to the other process."""

JOB_FIELDS = (
    "status", "cursor", "total", "bytes", "models", "names_no_model", "priority", "in_progress_at", "expires_at", "outlook",
    "completed", "failed", "result_bytes", "canary", "max_cost_nano", "cost_nano", "line_nano", "recorded",
    "key_rpm", "key_tpm", "price_class", "no_batches", "endpoints", "owner",
)  # fmt: skip

log = logging.getLogger(__name__)


class Dispatcher:
    """Plans, reserves and publishes."""

    def __init__(self, redis: AsyncRedis, fleet: Fleet, shards: ShardTable, wake: Wake, strategy: BalancingStrategy) -> None:
        self._redis = redis
        self._fleet = fleet
        self._shards = shards
        self._wake = wake
        self._strategy = strategy
        self._marked_at: dict[str, float] = {}
        """When jobs were last marked as waiting for endpoints (monotonic)."""
        self._running = asyncio.Lock()
        self._asked_again = False

    async def run(self) -> int:
        """Give out all that can be given out now and return the number of shards.

        Calls that come while one is under way make it look once more and return at once. Trouble with Redis is logged;
        the janitor's next round makes up for it.
        """
        if self._running.locked():
            self._asked_again = True
            return 0
        async with self._running:
            given = 0
            self._asked_again = True
            while self._asked_again:
                self._asked_again = False
                try:
                    given += await self._round()
                except (RedisError, QueueUnavailable, OSError) as exc:
                    log.warning("dispatch: Redis is unavailable (%s); the next round makes up for it", exc)
                    break
            return given

    async def wake(self, shards: Sequence[Shard]) -> None:
        """Publish the messages of shards that are in their queues already. Raises QueueUnavailable."""
        await self._wake(shards)

    async def _round(self) -> int:
        given = 0
        for _ in range(TRIES):
            version, planned = await self._plan()
            if not planned.shards:
                return given
            shards = await self._shards.reserve(planned, version)
            if shards is None:
                continue
            await self._wake(shards)
            given += len(shards)
        return given

    async def _plan(self) -> tuple[str, Plan]:
        """Read what matters, most often in two round trips, and plan on it."""
        names = list(self._fleet.endpoints)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(keys.TURNS)
            pipe.hgetall(keys.SERVING)
            pipe.zrange(keys.READY, 0, JOBS_LOOKED_AT - 1)
            for name in (*names, *map(as_batch, names)):
                pipe.hgetall(keys.open_lines(name))
            turns, serving, ready, *found = await pipe.execute()
        opened, in_batches = found[: len(names)], dict(zip(names, found[len(names) :], strict=True))
        version = turns.pop(b"version", b"0").decode()
        served, workers = _served(serving)
        served = {name for name in served & set(names) if name in self._fleet.endpoints and name not in self._fleet.draining}
        loads = [
            self._load(n, lines, turns.get(keys.busy_since(n).encode()))
            for n, lines in zip(names, opened, strict=True)
            if n in served
        ]
        open_lines = _open_lines_by_job(dict(zip((*names, *map(as_batch, names)), found, strict=True)))
        here = frozenset(load.name for load in loads)
        known_turns = {name.decode(): float(turn) for name, turn in turns.items() if name.decode() in served}
        job_ids = [job_id.decode() for job_id in ready]
        for start in range(0, len(job_ids), JOBS_AT_ONCE):
            needs, blocked = await self._needs(job_ids[start : start + JOBS_AT_ONCE], here, open_lines)
            await self._set_waiting(blocked)
            ahead = outlook(needs, loads)
            await self._set_outlook(needs, ahead)
            batches, needs = plan_batches(needs, self._batch_loads(needs, in_batches), BYTES_OF_A_TOKEN)
            if batches:
                return version, Plan(tuple(batches), known_turns)
            alone = [need for need in needs if need.endpoints]
            planned = plan(self._strategy, alone, loads, known_turns, workers, urgent=ahead.urgent)
            if planned.shards:
                return version, planned
        return version, Plan()

    def _load(self, name: str, open_lines: dict[bytes, bytes], busy_since: bytes | None) -> EndpointLoad:
        endpoint, health = self._fleet.endpoints[name], self._fleet.health[name]
        counts = [int(lines) for lines in open_lines.values()]
        return EndpointLoad(
            name=name,
            weight=endpoint.weight,
            max_concurrency=self._fleet.limits[name].value,
            priority=endpoint.priority,
            latency=health.latency,
            open_lines=sum(counts),
            open_shards=len(counts),
            probing=health.circuit is Circuit.HALF_OPEN,
            # An endpoint that has rested is not idle before it has had its lines for a while.
            idle_for=min(health.idle_for, max(0.0, time.time() - int(busy_since) / 1000)) if busy_since else health.idle_for,
        )

    def _batch_loads(self, needs: Sequence[JobNeed], opened: Mapping[str, Mapping[bytes, bytes]]) -> list[BatchLoad]:
        """Return what endpoints have been given as batches; lines of jobs that are not among `needs` are taken to be like
        theirs."""
        tokens_of = {need.job_id: need.line_bytes / BYTES_OF_A_TOKEN for need in needs}
        usual = sum(tokens_of.values()) / len(tokens_of) if tokens_of else 0.0
        found = []
        for name in sorted({name for need in needs for name in need.batches_at}):
            tokens = sum(int(n) * tokens_of.get(m.rpartition(b":")[0].decode(), usual) for m, n in opened[name].items())
            counts = [int(count) for count in opened[name].values()]
            batches = self._fleet.batches(name)
            assert batches is not None
            limit = self._fleet.endpoints[name].queued_tokens
            found.append(BatchLoad(name, batches.api.largest, sum(counts), len(counts), tokens, limit))
        return found

    async def _needs(
        self, job_ids: list[str], served: frozenset[str], open_lines: Mapping[str, Mapping[str, int]]
    ) -> tuple[list[JobNeed], dict[str, Waiting]]:
        """Return what jobs need, and why those wait of which nothing is under way and for which no endpoint can be used."""
        if not job_ids:
            return [], {}
        usable = frozenset(name for name in served if self._fleet.health[name].usable)
        async with self._redis.pipeline(transaction=True) as pipe:
            for job_id in job_ids:
                pipe.hmget(keys.job(job_id), *JOB_FIELDS)
                pipe.zrange(keys.returned(job_id), 0, RETURNED_LOOKED_AT - 1)
            answers = await pipe.execute()
        owners = [(record[-1] or b"").decode() for record in answers[::2]]
        left = await left_of_budgets(self._redis, owners, time.time())
        records = zip(job_ids, answers[::2], answers[1::2], owners, strict=True)
        needs = [
            self._need(i, record, back, left.get(owner, math.inf), open_lines.get(i, {})) for i, record, back, owner in records
        ]
        wanting = [need for need in needs if need is not None and need.remaining > 0]
        blocked = {
            need.job_id: self._why_blocked(need.endpoints | need.batches_at, served)
            for need in wanting
            if not (need.endpoints | need.batches_at) & usable and not open_lines.get(need.job_id)
        }
        return [
            replace(need, endpoints=need.endpoints & usable, batches_at=need.batches_at & usable)
            for need in wanting
            if (need.endpoints | need.batches_at) & usable
        ], blocked

    def _why_blocked(self, serving: frozenset[str], served: frozenset[str]) -> Waiting:
        if not serving & served:
            names = ", ".join(sorted(serving)[:5]) or "its models"
            return Waiting.because(f"no worker is running that serves {names}")
        troubles, soonest = {}, math.inf
        for name in sorted(serving & served):
            health = self._fleet.health[name]
            troubles[name] = health.last_error or "it asked to be left alone"
            soonest = min(soonest, max(health.open_for, health.limited_for))
        return at_endpoints(troubles, time.time() + soonest)

    async def _set_waiting(self, blocked: Mapping[str, Waiting]) -> None:
        now = time.monotonic()
        self._marked_at = {job_id: at for job_id, at in self._marked_at.items() if now - at < MARK_EVERY}
        unmarked = [job_id for job_id in blocked if job_id not in self._marked_at]
        if not unmarked:
            return
        async with self._redis.pipeline(transaction=False) as pipe:
            for job_id in unmarked:
                pipe.hset(keys.job(job_id), "waiting", blocked[job_id].to_json())
                self._marked_at[job_id] = now
            await pipe.execute()

    async def _set_outlook(self, needs: Sequence[JobNeed], ahead: Outlook) -> None:
        """Say of jobs whether they are short of time, where that has changed."""
        changed = {}
        for need in needs:
            late = ahead.late.get(need.job_id)
            now = "urgent" if need.job_id in ahead.urgent else "" if late is None else f"late {time.time() + late:.0f}"
            if now.partition(" ")[0] != need.outlook.partition(" ")[0]:
                changed[need.job_id] = now
        if changed:
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id, now in changed.items():
                    pipe.hset(keys.job(job_id), "outlook", now)
                await pipe.execute()

    def _need(
        self, job_id: str, record: list[Any], returned: list[bytes], left: float, open_lines: Mapping[str, int]
    ) -> JobNeed | None:
        """Return what a job needs that is in progress. `left`: nanodollars that its key's budgets leave it; `open_lines` are its
        lines that are not finished, by endpoint."""
        status, cursor, total, size, models, no_model, priority, began_at, expires_at, known, *more = record
        results, canary, cost, rates, price_class = more[:3], more[3], more[4:8], more[8:10], (more[10] or b"").decode()
        line_bytes = int(size) / max(1, int(total))
        rpm, tpm = (int(rate or 0) for rate in rates)
        if status != b"in_progress":
            return None
        wanted: list[str | None] = list(orjson.loads(models))
        if no_model == b"1":
            wanted.append(None)
        serving = {name for model in wanted for name in self._fleet.catalog.serving(model)}
        if more[12]:
            serving &= set(orjson.loads(more[12]))
        need = JobNeed(
            job_id=job_id,
            open_lines=open_lines,
            cursor=int(cursor),
            total=min(int(total), int(canary or total)),
            returned=tuple(sorted((ReturnedRange.parse(entry.decode()) for entry in returned), key=lambda each: each.first)),
            endpoints=frozenset(serving),
            line_bytes=line_bytes,
            priority=int(priority or 0),
            seconds_left=max(0.0, int(expires_at) - time.time()),
            window=int(expires_at) - int(began_at),
            outlook=(known or b"").decode(),
            result_bytes=_mean_result(*(int(count or 0) for count in results)),
            affordable=min(
                affordable_lines(self._spending_room(cost, left, wanted, line_bytes)),
                paced_lines(rpm, tpm, line_bytes / BYTES_OF_A_TOKEN + EXPECTED_COMPLETION),
            ),
        )
        return need if more[11] else self._with_batches(need, price_class)

    def _with_batches(self, need: JobNeed, price_class: str) -> JobNeed:
        """Find the endpoints at which a job's lines go into batches now; those are sent no single lines of it."""
        classes = {name: price_class or self._fleet.endpoints[name].price_class for name in need.endpoints}
        with_batches = {name for name in classes if PriceClass(classes[name]).uses_batches and self._fleet.batches(name)}
        if not with_batches and price_class != PriceClass.BATCH:
            return need
        loads = [(self._fleet.limits[name].value, self._fleet.health[name].latency) for name in need.endpoints]
        lines, now = need.remaining + sum(need.open_lines.values()), time.time()
        until = {
            kind: batches_end(kind, now + need.seconds_left, need.window, lines, pace_of(loads)) for kind in set(classes.values())
        }
        batches_at = frozenset(name for name in with_batches if now < until[classes[name]])
        if price_class == PriceClass.BATCH or (price_class == PriceClass.CHEAPEST and batches_at):
            return replace(need, batches_at=batches_at, endpoints=frozenset())
        only = {name for name in need.endpoints - batches_at if classes[name] != PriceClass.BATCH}
        return replace(need, batches_at=batches_at, endpoints=frozenset(only))

    def _spending_room(
        self, numbers: Sequence[bytes | None], left: float, models: Sequence[str | None], line_bytes: float
    ) -> SpendingRoom:
        cap, spent, recorded = (int(number or 0) for number in (*numbers[:2], numbers[3]))
        if numbers[0] is not None:
            left = min(left, cap - spent)
        unknown = left < math.inf and recorded < FEWEST_LINES
        guess = highest_line_cost(self._fleet, [model or "" for model in models], line_bytes) if unknown else 0.0
        return SpendingRoom(left, float(numbers[2] or 0), recorded, guess)


def _open_lines_by_job(opened: Mapping[str, Mapping[bytes, bytes]]) -> dict[str, dict[str, int]]:
    """Return job -> endpoint -> unfinished lines, of endpoint -> shard -> unfinished lines."""
    found: dict[str, dict[str, int]] = {}
    for endpoint, shards in opened.items():
        for member, lines in shards.items():
            by_endpoint = found.setdefault(member.rpartition(b":")[0].decode(), {})
            by_endpoint[endpoint] = by_endpoint.get(endpoint, 0) + int(lines)
    return found


def _mean_result(completed: int, failed: int, result_bytes: int) -> float:
    return result_bytes / max(1, completed + failed)


async def announce_serving(redis: AsyncRedis, process: str, endpoints: list[str], seconds: float) -> None:
    """Say that `process` listens to these endpoints' queues for the next `seconds`; no endpoints: that it has stopped."""
    if endpoints:
        expires = int((time.time() + seconds) * 1000)
        await redis.hset(keys.SERVING, process, f"{expires}|" + "|".join(endpoints))
    else:
        await redis.hdel(keys.SERVING, process)


def _served(serving: dict[bytes, bytes]) -> tuple[set[str], int]:
    """Return the endpoints whose queues are consumed, and the number of worker processes."""
    now = time.time() * 1000
    found: set[str] = set()
    workers = 0
    for value in serving.values():
        expires, *names = value.decode().split("|")
        if float(expires) > now:
            found.update(names)
            workers += 1
    return found, workers
