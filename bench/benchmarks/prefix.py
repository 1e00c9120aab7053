"""What it brings to send lines that begin alike one after the other, to servers that keep what they have read of a prompt."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import orjson

from bench.benchmarks.base import Benchmark
from bench.plots import Line, Plot, save_plot
from bench.results import Figure, at_least, at_most
from bench.stage import Stage, completed
from jobs.intake.files import Upload
from jobs.intake.lines import CHAT_PATH
from jobs.node import Node
from jobs.records import Job
from jobs.service import JobRequest

__all__ = ["BENCHMARK"]

ENDPOINTS = ("a", "b", "c", "d")
SLOTS = 16
PREFIXES, KEPT = 200, 20
"""Documents, and how many of them each server keeps."""
BLOCKS, BLOCK = 16, 256
"""Of a document, and characters of one."""
LATENCY, PREFILL = 0.05, 0.01
"""Seconds of an answer, and of each block that is not kept."""
LOOK_EVERY = 0.1
"""Seconds."""
LOOKS = 20
"""Over which hits and throughput are taken for the plots."""
PATIENCE = 300.0
"""Seconds that the job may take."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What had been answered after so many seconds: lines, their prompt tokens, and those that servers had kept."""

    seconds: float
    lines: int
    prompt: int
    cached: int


@dataclass(frozen=True, slots=True)
class _Found:
    seconds: float
    cached: float
    """Share of the prompt tokens that servers had kept."""
    shares: list[int]
    """Lines by endpoint."""
    looks: Sequence[_Look]

    def over_time(self, value: Callable[[_Look, _Look], float]) -> list[tuple[float, float]]:
        """Return a value of each look and one some time before it."""
        return [(now.seconds, value(before, now)) for before, now in zip(self.looks, self.looks[LOOKS:], strict=False)]


async def _measure(quick: bool) -> list[Figure]:
    lines = 2_000 if quick else 20_000
    ordered, shuffled = await _run(lines, "auto"), await _run(lines, "input")
    await _draw(ordered, shuffled)
    best = BLOCKS / (BLOCKS + 1) * (1 - PREFIXES / lines)
    uneven = 100 * (max(ordered.shares) - min(ordered.shares)) / (lines / len(ENDPOINTS))
    return [
        Figure("lines a second, order: auto", lines / ordered.seconds, "/s"),
        Figure("lines a second, order: input", lines / shuffled.seconds, "/s"),
        Figure("auto by input", shuffled.seconds / ordered.seconds, "x", at_least(1.8)),
        Figure("prompt tokens kept, order: auto", 100 * ordered.cached, "%", note=f"an oracle: {100 * best:.1f} %"),
        Figure("prompt tokens kept, order: input", 100 * shuffled.cached, "%"),
        Figure("kept, by an oracle's", ordered.cached / best, "x", at_least(0.9)),
        Figure("most lines of an endpoint beyond the fewest", uneven, "%", at_most(5)),
    ]


async def _run(lines: int, order: str) -> _Found:
    with Stage() as stage:
        servers = [await stage.model_server(name, LATENCY) for name in ENDPOINTS]
        for server in servers:
            await server.behave(cache_blocks=KEPT * (BLOCKS + 1), prefill=PREFILL)
        stage.configure(list(zip(ENDPOINTS, servers, strict=True)), SLOTS, strategy="least_connections")
        await stage.workers(2)
        async with stage.node() as node:
            file = await node.service.files.add(Upload("prefix.jsonl"), _input(lines))
            began = time.perf_counter()
            job = await node.service.submit(JobRequest(file.id, CHAT_PATH, order=order))
            looks = [look async for look in _watch(node, job, began)]
            job = await completed(node, job, PATIENCE)
    return _Found(looks[-1].seconds, job.tokens.cached / job.tokens.prompt, sorted(job.shares.values()), looks)


async def _watch(node: Node, job: Job, began: float) -> AsyncIterator[_Look]:
    """Look at a job until its end."""
    yield _Look(0.0, 0, 0, 0)
    async with asyncio.timeout(PATIENCE):
        while not job.is_final:
            await asyncio.sleep(LOOK_EVERY)
            job = await node.service.jobs.get(job.id)
            yield _Look(time.perf_counter() - began, job.ledger.completed, job.tokens.prompt, job.tokens.cached)


async def _draw(ordered: _Found, shuffled: _Found) -> None:
    def hits(before: _Look, now: _Look) -> float:
        return 100 * (now.cached - before.cached) / max(1, now.prompt - before.prompt)

    def rate(before: _Look, now: _Look) -> float:
        return (now.lines - before.lines) / (now.seconds - before.seconds)

    for name, title, unit, value in (
        ("prefix-hits", "prompt tokens that servers had kept", "%", hits),
        ("prefix-throughput", "lines answered", "lines/s", rate),
    ):
        lines = [Line("order: auto", ordered.over_time(value)), Line("order: input", shuffled.over_time(value))]
        await save_plot(Plot(f"{title}, over the last {LOOKS * LOOK_EVERY:g} s", lines, unit), name)


async def _input(lines: int) -> AsyncIterator[bytes]:
    rng = random.Random(1)
    documents = ["".join(rng.choices("abcdefgh ", k=BLOCKS * BLOCK)) for _ in range(PREFIXES)]
    for number in range(lines):
        question = f"question {number} " + "?" * (BLOCK - 40)
        messages = [{"role": "system", "content": rng.choice(documents)}, {"role": "user", "content": question}]
        body = {"model": "simulated", "messages": messages, "user": str(number)}
        yield orjson.dumps({"custom_id": str(number), "method": "POST", "url": CHAT_PATH, "body": body}) + b"\n"


BENCHMARK = Benchmark("prefix", "lines that begin alike, for servers that keep prompts", _measure, 600.0)
