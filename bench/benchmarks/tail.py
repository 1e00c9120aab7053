"""How long a job waits for its last lines when a few answers take much longer than the others, with hedges and without."""

import asyncio
import time
from dataclasses import dataclass

from bench.benchmarks.base import Benchmark
from bench.lines import InputFile
from bench.results import Figure, at_most
from bench.stage import Stage, completed, open_job
from jobs.intake.files import Upload

__all__ = ["BENCHMARK"]

ENDPOINTS = ("a", "b")
SLOTS = 64
LATENCY = 0.25
SLOW = 0.01
"""Share of the answers that take twenty times as long."""
LINE_BYTES = 400
MOST_HEDGES = 0.02
LOOK_EVERY = 0.02


@dataclass(frozen=True, slots=True)
class _Found:
    """Seconds of the job, and of its last 1 %; requests beyond its lines."""

    whole: float
    last: float
    more: int


async def _measure(quick: bool) -> list[Figure]:
    lines = 2_000 if quick else 20_000
    figures = []
    for name, most in (("with hedges", MOST_HEDGES), ("without", 0.0)):
        found = await _run(lines, most)
        share = 100 * found.last / found.whole
        target = at_most(5) if most else None
        note = f"{found.last:.2f} of {found.whole:.2f} s, {lines:,} lines"
        figures.append(Figure(f"the last 1 % of the lines, {name}", share, "%", target, note=note))
        if most:
            figures.append(
                Figure("more requests", 100 * found.more / lines, "%", at_most(100 * MOST_HEDGES), note=f"{found.more}")
            )
    return figures


async def _run(lines: int, most_hedges: float) -> _Found:
    with Stage() as stage:
        servers = [await stage.model_server(name, LATENCY, slow=SLOW) for name in ENDPOINTS]
        stage.configure(list(zip(ENDPOINTS, servers, strict=True)), SLOTS, hedge={"max": most_hedges})
        await stage.workers(2)
        async with stage.node() as node:
            file = await node.service.files.add(Upload("tail.jsonl"), InputFile(lines, LINE_BYTES).stream())
            began = time.perf_counter()
            job = await open_job(node, file)
            while (await node.service.jobs.get(job.id)).ledger.done < 0.99 * lines:
                await asyncio.sleep(LOOK_EVERY)
            nearly = time.perf_counter()
            await completed(node, job, 120)
            ended = time.perf_counter()
        requests = sum([(await server.ask("stats"))["requests"] for server in servers])
    return _Found(ended - began, ended - nearly, requests - lines)


BENCHMARK = Benchmark("tail", "the last lines of a job of which one in a hundred takes 20 times as long", _measure, 300.0)
