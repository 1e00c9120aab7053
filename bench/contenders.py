"""Contenders of a bulk benchmark: Roadbalancer, and loops that people write instead."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bench.environment import competitors_python
from bench.processes import Process
from bench.results import BenchmarkFailed, Figure, Target
from bench.stage import ModelServer, Stage, completed, measured, open_job
from jobs.intake.files import Upload
from jobs.results.verify import verify_job

__all__ = [
    "CONTENDER_SECONDS",
    "CPU_UNIT",
    "IN_FLIGHT",
    "MICRO",
    "OURS",
    "UNIT",
    "WORKERS",
    "Loop",
    "check_count",
    "end_all",
    "roadbalancer",
    "run_loop",
]

IN_FLIGHT = 100
"""Requests at once, of Roadbalancer and of every loop."""
WORKERS = 2
CONTENDER_SECONDS = 120.0
"""How long one contender may take."""
UNIT = "lines/s"
CPU_UNIT = "µs/line"
MICRO = 1e6
OURS = "Roadbalancer, 2 workers"

log = logging.getLogger(__name__)


async def roadbalancer(stage: Stage, server: ModelServer, source: Path, lines: int) -> list[Figure]:
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
    end_all(workers)
    note = f"{lines:,} lines, checked on the way in, output verified"
    return [
        Figure(OURS, lines / (ended - started), UNIT, note=note),
        Figure("the same from the job's opening", lines / (ended - opened), UNIT, note="without the upload and its check"),
    ]


@dataclass(frozen=True, slots=True)
class Loop:
    """A client in the loop of bench/competitors/loop.py."""

    name: str
    module: str
    lines: int
    target: Target | None = None
    own_environment: bool = False
    cpu: bool = False


async def run_loop(stage: Stage, server: ModelServer, source: Path, loop: Loop, against: str = OURS) -> Figure:
    """Measure a loop: its rate, or with `cpu` the time of the processor that a line takes it."""
    log.info("%s, %d lines", loop.name, loop.lines)
    unit = CPU_UNIT if loop.cpu else UNIT
    interpreter: list[str] = []
    if loop.own_environment:
        try:
            interpreter = [str(await competitors_python())]
        except BenchmarkFailed as exc:
            return Figure(loop.name, None, unit, loop.target, against, f"skipped: {exc}")
    out = stage.folder / f"{loop.module}.jsonl"
    arguments = [server.url, str(source), str(out), "--lines", str(loop.lines), "--in-flight", str(IN_FLIGHT)]
    process = stage.start(loop.module, *interpreter, "-m", f"bench.competitors.{loop.module}", *arguments)
    found = await measured(process)
    check_count(out, loop.lines)
    note = f"{loop.lines:,} lines, {IN_FLIGHT} in flight"
    value = MICRO * found["cpu"] / loop.lines if loop.cpu else loop.lines / found["seconds"]
    return Figure(loop.name, value, unit, loop.target, against, note)


def check_count(out: Path, lines: int) -> None:
    with out.open("rb") as file:
        found = sum(1 for _ in file)
    if found != lines:
        raise BenchmarkFailed(f"{out.name} has {found} results of {lines} lines")


def end_all(processes: list[Process]) -> None:
    """End one contender's processes before the next one's turn."""
    for process in processes:
        process.end()


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, 1024 * 1024):
            yield chunk
