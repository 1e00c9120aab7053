"""Whether a limit of the requests in flight finds itself: its throughput against that of the best fixed limit."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.benchmarks.base import Benchmark
from bench.lines import InputFile
from bench.plots import Line, Plot, save_plot
from bench.results import Figure, at_least, at_most
from bench.stage import ModelServer, Stage, open_job
from jobs.intake.files import Upload
from jobs.node import Node

__all__ = ["BENCHMARK"]

LATENCY, JITTER = 0.3, 0.1
"""Seconds of an answer while there are not too many; up to so many more at random."""
LEARNING, MEASURED = 15.0, 15.0
LOOK_EVERY = 0.25
LINE_BYTES = 400


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """How a simulated endpoint behaves beyond `knee` requests in flight; `moved` is its knee from the 15th second on."""

    name: str
    knee: int
    decay: float = 0.0
    sheds: bool = False
    moved: int = 0

    def options(self, knee: int) -> dict[str, object]:
        return {"max_concurrency": knee} if self.sheds else {"knee": knee, "decay": self.decay}


ENDPOINTS = (
    _Endpoint("knee at 8", 8),
    _Endpoint("knee at 64", 64),
    _Endpoint("knee at 512", 512),
    _Endpoint("slows beyond 8", 8, decay=0.3),
    _Endpoint("slows beyond 64", 64, decay=0.3),
    _Endpoint("503 beyond 8", 8, sheds=True),
    _Endpoint("503 beyond 64", 64, sheds=True),
    _Endpoint("knee moves from 64 to 256", 64, moved=256),
    _Endpoint("knee moves from 64 to 16", 64, decay=0.3, moved=16),
)
QUICK = ENDPOINTS[4:5]


async def _measure(quick: bool) -> list[Figure]:
    figures = []
    for endpoint in QUICK if quick else ENDPOINTS:
        best = await _run(endpoint, endpoint.moved or endpoint.knee)
        found = await _run(endpoint, None)
        note = f"{found.rate:.1f} of {best.rate:.1f} answers/s; limit {found.limits[-1][1]:.0f}"
        figures.append(
            Figure(f"{endpoint.name}: of the best fixed limit", found.rate / best.rate, "x", at_least(0.95), note=note)
        )
        if endpoint.sheds:
            share = 100 * found.refused / (found.refused + found.answered)
            figures.append(Figure(f"{endpoint.name}: refused after 15 s", share, "%", at_most(1)))
        await _draw(endpoint, found)
    return figures


@dataclass(frozen=True, slots=True)
class _Found:
    """Answers a second, answers and refusals once the limit had time to be found; the limit, the requests in flight and the
    throughput over time (s)."""

    rate: float
    answered: int
    refused: int
    limits: Sequence[tuple[float, float]]
    in_flight: Sequence[tuple[float, float]]
    rates: Sequence[tuple[float, float]]


async def _run(endpoint: _Endpoint, fixed: int | None) -> _Found:
    learning = 5.0 if fixed else LEARNING * (2 if endpoint.moved else 1)
    knee = endpoint.moved if fixed and endpoint.moved else endpoint.knee
    seconds = learning + MEASURED
    lines = int(1.5 * seconds * max(knee, endpoint.moved) / LATENCY)
    with Stage() as stage:
        server = await stage.model_server("e", LATENCY)
        await server.behave(jitter=JITTER, **endpoint.options(knee))
        stage.configure([("e", server)], fixed or "auto")
        await stage.workers(2)
        async with stage.node() as node:
            file = await node.service.files.add(Upload("lines.jsonl"), InputFile(lines, LINE_BYTES).stream())
            await open_job(node, file)
            return await _watch(endpoint, server, node, learning, bool(endpoint.moved and not fixed))


async def _watch(endpoint: _Endpoint, server: ModelServer, node: Node, learning: float, moves: bool) -> _Found:
    began, limits, in_flight, counts = time.perf_counter(), [], [], []
    before = None
    while (now := time.perf_counter() - began) < learning + MEASURED:
        if moves and now >= LEARNING:
            await server.behave(**endpoint.options(endpoint.moved))
            moves = False
        stats = await server.ask("stats")
        await node.fleet.limits.refresh()
        limits.append((now, float(node.fleet.limits["e"].value)))
        in_flight.append((now, stats["in_flight"]))
        counts.append((now, stats["completed"]))
        if before is None and now >= learning:
            before = (now, stats)
        await asyncio.sleep(LOOK_EVERY)
    assert before is not None
    since, earlier = before
    answered = stats["completed"] - earlier["completed"]
    refused = stats["by_status"].get("503", 0) - earlier["by_status"].get("503", 0)
    rates = [(b[0], (b[1] - a[1]) / (b[0] - a[0])) for a, b in zip(counts, counts[4:], strict=False)]
    return _Found(answered / (counts[-1][0] - since), answered, refused, limits, in_flight, rates)


async def _draw(endpoint: _Endpoint, found: _Found) -> None:
    lines = [Line("limit", found.limits, stepped=True), Line("in flight", found.in_flight), Line("answers/s", found.rates)]
    await save_plot(
        Plot(f"{endpoint.name}: the limit and the throughput", lines), f"concurrency-{endpoint.name.replace(' ', '-')}"
    )


BENCHMARK = Benchmark("concurrency", "whether the limit of requests in flight finds the best by itself", _measure, 900.0)
