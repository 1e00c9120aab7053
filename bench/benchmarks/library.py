"""What the LoadBalancer costs beyond the HTTP call, and how many calls many threads get through it, beside LiteLLM's Router."""

import logging
from dataclasses import dataclass

from bench.benchmarks.base import Benchmark
from bench.environment import LITELLM, competitors_python
from bench.results import BenchmarkFailed, Figure, at_least, at_most
from bench.stage import ModelServer, Stage, measured

__all__ = ["BENCHMARK"]

THREADS = 64
MILLI = 1e3
OURS = "LoadBalancer, 64 threads"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Size:
    """Calls one after the other, and calls of each of the threads, for ours and for LiteLLM."""

    sequential: int
    each: int
    litellm_sequential: int
    litellm_each: int


FULL = _Size(sequential=3_000, each=150, litellm_sequential=200, litellm_each=12)
QUICK = _Size(sequential=100, each=4, litellm_sequential=10, litellm_each=1)


async def _measure(quick: bool) -> list[Figure]:
    size = QUICK if quick else FULL
    with Stage() as stage:
        server = await stage.model_server("m")
        bare = await _ours(stage, server, "bare", "", size)
        alone = await _ours(stage, server, "balanced", "", size)
        shared = await _ours(stage, server, "balanced", stage.redis_url, size)
        figures = [
            Figure("bare HTTP call, CPU", MILLI * bare["cpu"], "ms", note="pyreqwest, one thread, one after the other"),
            Figure("beyond it, in memory", MILLI * (alone["cpu"] - bare["cpu"]), "ms", at_most(0.3), note="LoadBalancer.chat"),
            Figure("beyond it, with Redis", MILLI * (shared["cpu"] - bare["cpu"]), "ms", at_most(0.6), note="LoadBalancer.chat"),
            Figure(OURS, alone["rate"], "calls/s"),
            Figure("the same with Redis", shared["rate"], "calls/s"),
        ]
        figures.append(await _litellm(stage, server, size))
    return figures


async def _ours(stage: Stage, server: ModelServer, what: str, redis_url: str, size: _Size) -> dict[str, float]:
    log.info("%s%s", what, " with Redis" if redis_url else "")
    counts = (str(size.sequential), str(THREADS), str(size.each))
    name = f"{what}{'-redis' if redis_url else ''}"
    process = stage.start(name, "-m", "bench.competitors.balancer_calls", what, server.url, redis_url, *counts)
    return await measured(process)


async def _litellm(stage: Stage, server: ModelServer, size: _Size) -> Figure:
    name = "LiteLLM Router, 64 threads"
    log.info("%s", name)
    try:
        interpreter = str(await competitors_python(LITELLM))
    except BenchmarkFailed as exc:
        return Figure(name, None, "calls/s", at_least(5), OURS, f"skipped: {exc}")
    counts = (str(size.litellm_sequential), str(THREADS), str(size.litellm_each))
    process = stage.start("litellm", interpreter, "-m", "bench.competitors.litellm_router", server.url, *counts)
    found = await measured(process)
    note = f"{MILLI * found['cpu']:.2f} ms of CPU for a call by itself"
    return Figure(name, found["rate"], "calls/s", at_least(5), OURS, note)


BENCHMARK = Benchmark("library", "calls through LoadBalancer from a program of one's own", _measure, 600.0)
