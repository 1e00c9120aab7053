"""How much of the time the endpoints' slots are in use: a job of exactly so many lines as fill them for a while."""

import time
from dataclasses import dataclass

from bench.benchmarks.base import Benchmark
from bench.lines import InputFile
from bench.results import BenchmarkFailed, Figure, at_least
from bench.stage import Stage, completed, open_job
from jobs.intake.files import Upload

__all__ = ["BENCHMARK"]

ENDPOINTS = ("a", "b")
WORKERS = 2
LINE_BYTES = 400
PATIENCE = 5.0
"""How many times the ideal time the job may take."""


@dataclass(frozen=True, slots=True)
class _Size:
    """Slots of each endpoint, seconds of an answer, and answers that each slot gives."""

    slots: int
    latency: float
    answers: int

    @property
    def lines(self) -> int:
        return self.slots * len(ENDPOINTS) * self.answers

    @property
    def ideal(self) -> float:
        """Seconds if no slot were ever free."""
        return self.latency * self.answers


FULL = _Size(slots=256, latency=1.0, answers=30)
QUICK = _Size(slots=16, latency=0.2, answers=10)


async def _measure(quick: bool) -> list[Figure]:
    size = QUICK if quick else FULL
    with Stage() as stage:
        servers = [await stage.model_server(name, size.latency) for name in ENDPOINTS]
        stage.configure(list(zip(ENDPOINTS, servers, strict=True)), size.slots)
        await stage.workers(WORKERS)
        async with stage.node() as node:
            file = await node.service.files.add(Upload("slots.jsonl"), InputFile(size.lines, LINE_BYTES).stream())
            opened_at = time.time()
            await completed(node, await open_job(node, file), size.ideal * PATIENCE + 30)
            ended_at = time.time()
        stats = [await server.ask("stats") for server in servers]
    most = max(entry["max_in_flight"] for entry in stats)
    if most > size.slots:
        raise BenchmarkFailed(f"{most} requests were in flight at an endpoint of {size.slots} slots")
    last_answer = max(entry["last_at"] for entry in stats) - opened_at
    whole = ended_at - opened_at
    what = f"{size.lines:,} lines, {size.slots * len(ENDPOINTS)} slots, {size.latency:g} s each: {size.ideal:g} s at best"
    return [
        Figure(
            "to the last answer", 100 * size.ideal / last_answer, "%", at_least(95), note=f"{what}, {last_answer:.2f} s taken"
        ),
        Figure("to `completed`", 100 * size.ideal / whole, "%", note=f"{whole:.2f} s taken"),
        Figure("most in flight at one endpoint", most, "requests", note=f"{size.slots} allowed"),
    ]


BENCHMARK = Benchmark("slots", "share of the time that every slot of two endpoints is in use", _measure, 300.0)
