"""How many lines per second go from submission to durable results, beside what people use instead."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.benchmarks.base import Benchmark
from bench.environment import competitors_python
from bench.lines import InputFile
from bench.processes import Process, until
from bench.results import BenchmarkFailed, Figure, Target, at_least
from bench.stage import ModelServer, Stage, completed, measured, open_job
from jobs.intake.files import Upload
from jobs.results.verify import verify_job

__all__ = ["BENCHMARK"]

LINE_BYTES = 400
IN_FLIGHT = 100
"""Requests at once, of Roadbalancer and of every loop."""
WORKERS = 2
CELERY_THREADS = 32
"""Of each of the two worker processes of plain Celery."""
CONTENDER_SECONDS = 120.0
"""How long one contender may take."""
UNIT = "lines/s"
OURS = "Roadbalancer, 2 workers"

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
        figures = await _roadbalancer(stage, server, source, size.ours)
        figures.append(await _one_command(stage, server, source, size.ours))
        figures.append(await _celery(stage, server, source, size.celery))
        loops = (
            _Loop("openai SDK, asyncio, 1 process", "openai_loop", size.openai, target=at_least(5)),
            _Loop("bare aiohttp, 1 process", "aiohttp_loop", size.aiohttp, own_environment=True),
            _Loop("bare httpx.AsyncClient, 1 process", "httpx_loop", size.httpx),
        )
        for loop in loops:
            figures.append(await _run_loop(stage, server, source, loop))
    return figures


BENCHMARK = Benchmark("bulk", "lines per second from submission to durable results, zero-latency server", _measure, 600.0)


async def _roadbalancer(stage: Stage, server: ModelServer, source: Path, lines: int) -> list[Figure]:
    """Workers are up and have answered nothing yet; the clock runs from the upload until the job is completed."""
    log.info("roadbalancer, %d lines", lines)
    stage.configure([("a", server), ("b", server)], slots=IN_FLIGHT // 2)
    workers = await stage.workers(WORKERS)
    async with stage.node() as node:
        started = time.perf_counter()
        file = await node.service.files.add(Upload(source.name), _chunks(source))
        opened = time.perf_counter()
        job = await completed(node, await open_job(node, file), CONTENDER_SECONDS)
        ended = time.perf_counter()
        verdict = await verify_job(node.service, node.objects, job)
    if not verdict.holds:
        raise BenchmarkFailed(f"the results are wrong: {verdict.problem}")
    _end(workers)
    note = f"{lines:,} lines, checked on the way in, output verified"
    return [
        Figure(OURS, lines / (ended - started), UNIT, note=note),
        Figure("the same from the job's opening", lines / (ended - opened), UNIT, note="without the upload and its check"),
    ]


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
    _check_count(out, lines)
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
    _end(workers)
    note = f"a task each for {lines:,} lines, 2 × {CELERY_THREADS} threads, published at {lines / found['published']:,.0f}/s"
    return Figure("plain Celery, 2 workers", lines / found["seconds"], UNIT, at_least(8), OURS, note)


@dataclass(frozen=True, slots=True)
class _Loop:
    """A client in the loop of bench/competitors/loop.py."""

    name: str
    module: str
    lines: int
    target: Target | None = None
    own_environment: bool = False


async def _run_loop(stage: Stage, server: ModelServer, source: Path, loop: _Loop) -> Figure:
    log.info("%s, %d lines", loop.name, loop.lines)
    interpreter: list[str] = []
    if loop.own_environment:
        try:
            interpreter = [str(await competitors_python())]
        except BenchmarkFailed as exc:
            return Figure(loop.name, None, UNIT, loop.target, OURS, f"skipped: {exc}")
    out = stage.folder / f"{loop.module}.jsonl"
    arguments = [server.url, str(source), str(out), "--lines", str(loop.lines), "--in-flight", str(IN_FLIGHT)]
    process = stage.start(loop.module, *interpreter, "-m", f"bench.competitors.{loop.module}", *arguments)
    found = await measured(process)
    _check_count(out, loop.lines)
    note = f"{loop.lines:,} lines, {IN_FLIGHT} in flight"
    return Figure(loop.name, loop.lines / found["seconds"], UNIT, loop.target, OURS, note)


def _check_count(out: Path, lines: int) -> None:
    with out.open("rb") as file:
        found = sum(1 for _ in file)
    if found != lines:
        raise BenchmarkFailed(f"{out.name} has {found} results of {lines} lines")


def _end(processes: list[Process]) -> None:
    """End one contender's processes before the next one's turn."""
    for process in processes:
        process.end()


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, 1024 * 1024):
            yield chunk
