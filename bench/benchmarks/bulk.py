"""How many lines per second go from submission to durable results, beside what people use instead."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.benchmarks.base import Benchmark
from bench.contenders import CONTENDER_SECONDS, IN_FLIGHT, OURS, UNIT, WORKERS, Loop, check_count, end_all, roadbalancer, run_loop
from bench.lines import InputFile
from bench.processes import until
from bench.results import BenchmarkFailed, Figure, at_least
from bench.stage import ModelServer, Stage, measured

__all__ = ["BENCHMARK"]

LINE_BYTES = 400
CELERY_THREADS = 32
"""Of each of the two worker processes of plain Celery."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Size:
    """Lines for each contender: enough for several seconds."""

    ours: int
    celery: int
    openai: int
    aiohttp: int
    httpx: int


FULL = _Size(ours=20_000, celery=1_500, openai=4_000, aiohttp=20_000, httpx=2_000)
QUICK = _Size(ours=1_000, celery=60, openai=100, aiohttp=500, httpx=60)


async def _measure(quick: bool) -> list[Figure]:
    size = QUICK if quick else FULL
    with Stage() as stage:
        server = await stage.model_server("m")
        source = InputFile(size.ours, LINE_BYTES).write(stage.folder / "in.jsonl")
        figures = await roadbalancer(stage, server, source, size.ours)
        figures.append(await _one_command(stage, server, source, size.ours))
        figures.append(await _celery(stage, server, source, size.celery))
        loops = (
            Loop("openai SDK, asyncio, 1 process", "openai_loop", size.openai, target=at_least(5)),
            Loop("bare aiohttp, 1 process", "aiohttp_loop", size.aiohttp, at_least(0.6), own_environment=True),
            Loop("bare httpx.AsyncClient, 1 process", "httpx_loop", size.httpx),
        )
        for loop in loops:
            figures.append(await run_loop(stage, server, source, loop))
    return figures


BENCHMARK = Benchmark("bulk", "lines per second from submission to durable results, zero-latency server", _measure, 600.0)


async def _one_command(stage: Stage, server: ModelServer, source: Path, lines: int) -> Figure:
    """`roadbalancer run` as a whole: Python, Redis and workers are started and stopped within the time."""
    log.info("roadbalancer run, %d lines", lines)
    endpoints = [{"name": name, "url": server.url, "max_concurrency": IN_FLIGHT // 2} for name in ("a", "b")]
    config = stage.folder / "one-command.yaml"
    config.write_text(yaml.safe_dump({"store": str(stage.folder / "one-command"), "endpoints": endpoints}))
    out = stage.folder / "one-command.jsonl"
    options = ["--out", str(out), "--config", str(config), "--workers", str(WORKERS), "--no-progress"]
    started = time.perf_counter()
    process = stage.start("roadbalancer run", "-m", "api_roadbalancer", "run", str(source), *options, grace=30.0)
    await process.finished(CONTENDER_SECONDS)
    seconds = time.perf_counter() - started
    check_count(out, lines)
    return Figure("`roadbalancer run`, everything", lines / seconds, UNIT, note=f"{seconds:.1f} s with start and stop")


async def _celery(stage: Stage, server: ModelServer, source: Path, lines: int) -> Figure:
    log.info("plain Celery, %d lines", lines)
    from bench.competitors.plain_celery import MODEL_URL, READY, REDIS_URL, RESULTS

    database = stage.redis_url.removesuffix("/0") + "/1"
    where = {REDIS_URL: database, MODEL_URL: server.url}
    options = ["--pool=threads", f"--concurrency={CELERY_THREADS}", "--without-gossip", "--without-mingle", "--loglevel=WARNING"]
    command = ["-m", "celery", "-A", "bench.competitors.plain_celery", "worker", *options]
    workers = [stage.start(f"celery {n}", *command, f"--hostname=celery-{n}@%h", variables=where) for n in range(1, WORKERS + 1)]
    with stage.redis() as store:
        store.select(1)
        await until(lambda: store.llen(READY) == WORKERS, 60.0, "the workers of plain Celery")
        arguments = [str(source), "--lines", str(lines), "--patience", str(CONTENDER_SECONDS)]
        publisher = stage.start("celery publisher", "-m", "bench.competitors.plain_celery", *arguments, variables=where)
        found = await measured(publisher)
        if store.llen(RESULTS) != lines:
            raise BenchmarkFailed(f"plain Celery kept {store.llen(RESULTS)} results of {lines} lines")
    end_all(workers)
    note = f"a task each for {lines:,} lines, 2 × {CELERY_THREADS} threads, published at {lines / found['published']:,.0f}/s"
    return Figure("plain Celery, 2 workers", lines / found["seconds"], UNIT, at_least(12), OURS, note)
