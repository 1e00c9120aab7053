"""How many embeddings per second go from submission to durable results, beside a loop with OpenAI's SDK."""

from pathlib import Path

from bench.benchmarks.base import Benchmark
from bench.contenders import Loop, roadbalancer, run_loop
from bench.lines import custom_id
from bench.results import Figure, at_least
from bench.stage import Stage

__all__ = ["BENCHMARK"]

FULL, QUICK = (12_000, 3_000), (600, 100)
"""Lines for Roadbalancer and for the loop."""
DIMENSIONS = 1536
TEXT = "The quick brown fox jumps over the lazy dog. " * 5


async def _measure(quick: bool) -> list[Figure]:
    ours, loop = QUICK if quick else FULL
    with Stage() as stage:
        server = await stage.model_server("m")
        source = _input(stage.folder / "in.jsonl", ours)
        figures = await roadbalancer(stage, server, source, ours)
        sdk = Loop("openai SDK, asyncio, 1 process", "openai_loop", loop, target=at_least(8))
        figures.append(await run_loop(stage, server, source, sdk))
    return figures


BENCHMARK = Benchmark("embeddings", "embeddings per second, 1,536 numbers each (packed), zero-latency server", _measure, 300.0)


def _input(path: Path, lines: int) -> Path:
    body = f'{{"model":"simulated","dimensions":{DIMENSIONS},"encoding_format":"base64","input":"%s {TEXT}"}}'
    with path.open("w") as file:
        for number in range(lines):
            name = custom_id(number)
            file.write(f'{{"custom_id":"{name}","method":"POST","url":"/v1/embeddings","body":{body % name}}}\n')
    return path
