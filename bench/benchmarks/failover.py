"""How long the lines in flight at an endpoint that is killed wait for their answer from another one.

The clock starts as SIGKILL is sent. It stops when the other endpoint has answered a line that was in flight at the dead one:
such a line has met a dead connection, was put down as failed there, and was sent again.
"""

import asyncio
import time
from dataclasses import dataclass

from bench.benchmarks.base import Benchmark
from bench.lines import InputFile
from bench.processes import until
from bench.results import BenchmarkFailed, Figure, at_most
from bench.stage import ModelServer, Stage, completed, open_job
from jobs.intake.files import Upload

__all__ = ["BENCHMARK"]

LATENCY = 0.05
SLOTS = 32
WORKERS = 2
LINE_BYTES = 400
LOOK_EVERY = 0.005
FIRST_WITHIN = 30.0
QUIET = 1.0
"""Seconds without another one after which the last line is taken to have been answered."""
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class _Size:
    """Lines of the job, and those that are answered before the endpoint dies."""

    lines: int
    before: int


FULL = _Size(lines=8_000, before=2_000)
QUICK = _Size(lines=2_500, before=500)


async def _measure(quick: bool) -> list[Figure]:
    size = QUICK if quick else FULL
    with Stage() as stage:
        mortal = await stage.model_server("mortal", LATENCY, track_keys=True)
        steady = await stage.model_server("steady", LATENCY, track_keys=True)
        stage.configure([("mortal", mortal), ("steady", steady)], SLOTS)
        await stage.workers(WORKERS)
        async with stage.node() as node:
            file = await node.service.files.add(Upload("failover.jsonl"), InputFile(size.lines, LINE_BYTES).stream())
            job = await open_job(node, file)

            async def under_way() -> bool:
                return int((await mortal.ask("stats"))["completed"]) >= size.before // 2

            await until(under_way, PATIENCE, "the job to be under way")
            await steady.reset()
            in_flight = set((await mortal.ask("keys_in_flight"))["keys"])
            killed_at = time.perf_counter()
            mortal.process.kill()
            waits = await _waits(steady, in_flight, killed_at)
            await completed(node, job, PATIENCE)
    note = f"{len(in_flight)} lines were in flight at the dead endpoint, {len(waits)} of them were answered by the other"
    return [
        Figure("to the first answer elsewhere", min(waits), "s", at_most(1), note=note),
        Figure("to the last such answer", max(waits), "s", note="no line failed"),
    ]


BENCHMARK = Benchmark("failover", "seconds from an endpoint's death until its lines are answered elsewhere", _measure, 300.0)


async def _waits(steady: ModelServer, in_flight: set[str], killed_at: float) -> list[float]:
    """Return the seconds after which each of the lines was answered; those that never came here, the dead one had answered."""
    seen: dict[str, float] = {}
    news_at = killed_at
    while len(seen) < len(in_flight):
        answered = (await steady.ask("requests"))["completed"]
        now = time.perf_counter()
        news = in_flight.intersection(answered).difference(seen)
        if news:
            news_at = now
            seen.update(dict.fromkeys(news, now - killed_at))
        if now - news_at > (QUIET if seen else FIRST_WITHIN):
            break
        await asyncio.sleep(LOOK_EVERY)
    if not seen:
        raise BenchmarkFailed(f"none of {len(in_flight)} lines was answered elsewhere within {FIRST_WITHIN:.0f} s")
    return list(seen.values())
