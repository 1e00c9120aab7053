"""What a line costs in processor time: in the workers, in Redis, and in the process that opened the job."""

import os
from dataclasses import dataclass

from bench.benchmarks.base import Benchmark
from bench.contenders import CPU_UNIT, MICRO, Loop, run_loop
from bench.lines import InputFile
from bench.processes import cpu_seconds
from bench.results import Figure, at_most
from bench.stage import Stage, completed, open_job
from jobs.intake.files import Upload

__all__ = ["BENCHMARK"]

LINE_BYTES = 400
SLOTS = 50
WORKERS = 2
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class _Size:
    lines: int


FULL = _Size(lines=20_000)
QUICK = _Size(lines=1_000)


async def _measure(quick: bool) -> list[Figure]:
    lines = (QUICK if quick else FULL).lines
    with Stage() as stage:
        server = await stage.model_server("m")
        stage.configure([("a", server), ("b", server)], SLOTS)
        workers = await stage.workers(WORKERS)
        pids = {
            "workers": [worker.pid for worker in workers],
            "Redis": [stage.redis_pid],
            "the producer": [os.getpid()],
            "the model server": [server.process.pid],
        }
        async with stage.node() as node:
            before = {name: _cpu(found) for name, found in pids.items()}
            file = await node.service.files.add(Upload("overhead.jsonl"), InputFile(lines, LINE_BYTES).stream())
            await completed(node, await open_job(node, file), PATIENCE)
            used = {name: _cpu(found) - before[name] for name, found in pids.items()}
        source = InputFile(lines, LINE_BYTES).write(stage.folder / "in.jsonl")
        loop = Loop("bare aiohttp, 1 process", "aiohttp_loop", lines, at_most(2.4), own_environment=True, cpu=True)
        aiohttp = await run_loop(stage, server, source, loop, against="workers")
    notes = {
        "workers": f"{lines:,} lines; user and system time of {WORKERS} processes",
        "the producer": "check of the input, opening, and looking for the end 50 times a second",
        "the model server": "no part of Roadbalancer",
    }
    ours = [Figure(name, MICRO * seconds / lines, CPU_UNIT, note=notes.get(name, "")) for name, seconds in used.items()]
    return [*ours, aiohttp]


BENCHMARK = Benchmark("overhead", "processor time per line, zero-latency server", _measure, 300.0)


def _cpu(pids: list[int]) -> float:
    return sum(cpu_seconds(pid) for pid in pids)
