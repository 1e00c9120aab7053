"""How long a big input takes until its job is open, and how much memory that costs each process."""

import asyncio
import contextlib
import http.client
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from api_roadbalancer.processes.ports import free_port
from bench.benchmarks.base import Benchmark
from bench.lines import InputFile
from bench.processes import Process, peak_memory, until
from bench.results import BenchmarkFailed, Figure, at_most
from bench.stage import Stage
from jobs.intake.lines import CHAT_PATH

__all__ = ["BENCHMARK"]

LINE_BYTES = 600
SLOTS = 64
LATENCY = 0.05
WORKERS = 2
MB = 1_000_000
SECONDS = at_most(60)
MEMORY = at_most(300)
BOUNDARY = "roadbalancer-bench-3f9c2d71"
PATIENCE = 300.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Size:
    """Lines, and the seconds that workers run the job before their memory is read."""

    lines: int
    work_seconds: float


FULL = _Size(lines=1_000_000, work_seconds=10.0)
QUICK = _Size(lines=5_000, work_seconds=1.0)


async def _measure(quick: bool) -> list[Figure]:
    size = QUICK if quick else FULL
    return [*await _over_http(size), *await _from_command_line(size)]


BENCHMARK = Benchmark("submit", "a file of a million requests becomes an open job, two workers at work", _measure, 900.0)


async def _over_http(size: _Size) -> list[Figure]:
    """POST the file as multipart/form-data to `roadbalancer api`, then open the batch."""
    log.info("upload of %d lines to the API", size.lines)
    source = InputFile(size.lines, LINE_BYTES)
    name = "upload and batch over HTTP"
    with Stage() as stage:
        workers = await _prepare(stage)
        port = free_port()
        options = ["api", "--config", str(stage.config), "--port", str(port)]
        api = stage.start("api", "-m", "api_roadbalancer", *options, grace=5.0)
        try:
            await stage.until_it_answers(api, port)
        except BenchmarkFailed as exc:
            return [Figure(name, None, "s", SECONDS, note=f"not measured: {exc}")]
        started = time.perf_counter()
        await asyncio.to_thread(_upload, port, source)
        seconds = time.perf_counter() - started
        await asyncio.sleep(size.work_seconds)
        note = f"{size.lines:,} lines, {source.size / MB:,.0f} MB"
        processes = {"api": api.pid, "redis": stage.redis_pid} | {worker.name: worker.pid for worker in workers}
        peaks = [Figure(f"peak memory of {who}, HTTP", peak_memory(pid) / MB, "MB", MEMORY) for who, pid in processes.items()]
    return [Figure(name, seconds, "s", SECONDS, note=note), *peaks]


async def _from_command_line(size: _Size) -> list[Figure]:
    log.info("roadbalancer submit of %d lines", size.lines)
    source = InputFile(size.lines, LINE_BYTES)
    with Stage() as stage:
        workers = await _prepare(stage)
        path = await asyncio.to_thread(source.write, stage.folder / "in.jsonl")
        started = time.perf_counter()
        submit = stage.start("submit", "-m", "api_roadbalancer", "submit", str(path), "--config", str(stage.config))
        submit_peak = await _watch(submit)
        seconds = time.perf_counter() - started
        await asyncio.sleep(size.work_seconds)
        processes = {"redis": stage.redis_pid} | {worker.name: worker.pid for worker in workers}
        peaks = {"submit": submit_peak} | {who: peak_memory(pid) for who, pid in processes.items()}
    figures = [Figure(f"peak memory of {who}, CLI", peak / MB, "MB", MEMORY) for who, peak in peaks.items()]
    note = f"{size.lines:,} lines, {source.size / MB:,.0f} MB, with the start of Python"
    return [Figure("`roadbalancer submit`", seconds, "s", SECONDS, note=note), *figures]


async def _prepare(stage: Stage) -> list[Process]:
    server = await stage.model_server("m", LATENCY)
    stage.configure([("m", server)], SLOTS)
    return await stage.workers(WORKERS)


async def _watch(process: Process) -> int:
    """Wait for a process and return the most bytes that it had resident, as of the last look before its end."""
    peak = 0

    def ended() -> bool:
        nonlocal peak
        peak = max(peak, peak_memory(process.pid))
        return not process.is_running

    await until(ended, PATIENCE, f"the end of {process.name}")
    await process.finished(1.0)
    return peak


def _upload(port: int, source: InputFile) -> None:
    """Send the file and open the batch. Raises BenchmarkFailed."""
    head = _part("purpose") + b"batch\r\n" + _part("file", "bench.jsonl")
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = {
        "content-type": f"multipart/form-data; boundary={BOUNDARY}",
        "content-length": str(len(head) + source.size + len(tail)),
    }
    file = _post(port, "/v1/files", _joined(head, source, tail), headers)
    request = {"input_file_id": file["id"], "endpoint": CHAT_PATH, "completion_window": "24h"}
    batch = _post(port, "/v1/batches", [json.dumps(request).encode()], {"content-type": "application/json"})
    if batch["status"] not in ("validating", "in_progress"):
        raise BenchmarkFailed(f"the batch is {batch['status']}: {batch.get('errors')}")


def _part(name: str, filename: str = "") -> bytes:
    file = f'; filename="{filename}"\r\ncontent-type: application/jsonl' if filename else ""
    return f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()


def _joined(head: bytes, source: InputFile, tail: bytes) -> Iterator[bytes]:
    yield head
    yield from source.blocks()
    yield tail


def _post(port: int, path: str, body: Iterator[bytes] | Sequence[bytes], headers: dict[str, str]) -> dict[str, Any]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        try:
            connection.request("POST", path, body=body, headers=headers)
            response = connection.getresponse()
            content = response.read()
        except OSError as exc:
            raise BenchmarkFailed(f"POST {path}: {exc}") from exc
    if response.status != 200:
        raise BenchmarkFailed(f"POST {path}: HTTP {response.status} {content[:300].decode(errors='replace')}")
    answer: dict[str, Any] = json.loads(content)
    return answer
