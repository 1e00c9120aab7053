"""How much Redis memory an open job takes: one of a million lines beside one of a thousand."""

import asyncio
import logging
from dataclasses import dataclass

from bench.benchmarks.base import Benchmark
from bench.lines import InputFile
from bench.processes import until
from bench.results import BenchmarkFailed, Figure, at_most
from bench.stage import Stage, open_job
from jobs.dispatch.dispatcher import announce_serving
from jobs.intake.files import Upload
from jobs.node import Node
from jobs.records import Job

__all__ = ["BENCHMARK"]

ENDPOINTS = ("a", "b")
SLOTS = 32
LINE_BYTES = 240
LATENCY = 0.4
"""Seconds of an answer: the small job takes long enough to be looked at."""
MB = 1_000_000
LIMIT = at_most(1)
LISTENER = "bench"
LOOK_EVERY = 0.05

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Size:
    """Lines of the two jobs, and the seconds in which the running job is looked at."""

    small: int
    large: int
    watched: float


FULL = _Size(small=1_000, large=1_000_000, watched=3.0)
QUICK = _Size(small=1_000, large=10_000, watched=1.0)


@dataclass(frozen=True, slots=True)
class _Found:
    """Bytes that a job takes in Redis: as it is opened and its first shards are cut, and at most while it runs."""

    opened: int
    running: int


async def _measure(quick: bool) -> list[Figure]:
    size = QUICK if quick else FULL
    small = await _job_of(size.small, size.watched)
    large = await _job_of(size.large, size.watched)
    return [*_figures("open", size, small.opened, large.opened), *_figures("running", size, small.running, large.running)]


BENCHMARK = Benchmark("memory", "Redis memory of a long job beside that of a short one", _measure, 600.0)


def _figures(state: str, size: _Size, small: int, large: int) -> list[Figure]:
    return [
        Figure(f"{state}, {size.small:,} lines", small / MB, "MB"),
        Figure(f"{state}, {size.large:,} lines", large / MB, "MB"),
        Figure(f"{state}, the difference", (large - small) / MB, "MB", LIMIT),
    ]


async def _job_of(lines: int, watched: float) -> _Found:
    """Each job has a Redis of its own, which has done exactly the same before."""
    log.info("a job of %d lines", lines)
    with Stage() as stage:
        servers = [await stage.model_server(name, LATENCY) for name in ENDPOINTS]
        stage.configure(list(zip(ENDPOINTS, servers, strict=True)), SLOTS)
        async with stage.node() as node:
            # Without a worker nothing would be cut, so one is said to be there.
            await announce_serving(node.redis, LISTENER, list(ENDPOINTS), 3600)
            before = await _used(node)
            file = await node.service.files.add(Upload("memory.jsonl"), InputFile(lines, LINE_BYTES).stream())
            job = await open_job(node, file)
            if not await node.service.shards.open_of(job.id):
                raise BenchmarkFailed("no shard was cut off the job")
            opened = await _used(node) - before
            await announce_serving(node.redis, LISTENER, [], 0)
            idle = await _used(node)
            (worker,) = await stage.workers(1)
            running = await _most_while_running(node, job, watched)
            if not worker.is_running:
                raise worker.failure()
    # The worker's connections and scripts are no part of the job, but the same for both.
    return _Found(opened, opened + running - idle)


async def _most_while_running(node: Node, job: Job, seconds: float) -> int:
    """Return the most bytes used in a time that begins with the first finished lines."""

    async def under_way() -> bool:
        return (await node.service.jobs.get(job.id)).ledger.done > 0

    await until(under_way, 60.0, "the first finished line")
    found = []
    for _ in range(round(seconds / LOOK_EVERY)):
        found.append(await _used(node))
        await asyncio.sleep(LOOK_EVERY)
    if (await node.service.jobs.get(job.id)).is_final:
        raise BenchmarkFailed(f"{job.id} ended while it was looked at")
    return max(found)


async def _used(node: Node) -> int:
    return int((await node.redis.info("memory"))["used_memory"])
