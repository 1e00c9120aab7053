"""A whole Roadbalancer below one temporary folder: Redis, model servers, workers, the API. It ends with the benchmark."""

import contextlib
import json
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import redis
import yaml

from api_roadbalancer.processes.embedded import EmbeddedRedis
from api_roadbalancer.processes.ports import free_port
from balancer.configuration import load_configuration
from bench.processes import Process, start_process, until
from bench.results import BenchmarkFailed
from jobs.node import Node, open_node
from jobs.records import FileRecord, Job
from jobs.records.states import JobStatus
from jobs.service import JobRequest
from workers.messages import celery_wake

__all__ = ["ModelServer", "Stage", "completed", "measured", "open_job"]

START_SECONDS = 60.0
CONTENDER_SECONDS = 120.0
"""How long one contender may take."""
_WORKER_IS_READY = re.compile(r"@\S+ ready\.")


@dataclass(frozen=True, slots=True)
class ModelServer:
    """A simulated model server."""

    process: Process
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def ask(self, path: str) -> Any:
        """Return one of the server's own accounts (`stats`, `requests`, `keys_in_flight`)."""
        async with _client(self.port) as client:
            return (await client.get(f"/mock/{path}")).raise_for_status().json()

    async def behave(self, **options: object) -> None:
        """Change how it behaves from now on (see `roadbalancer mock`)."""
        async with _client(self.port) as client:
            (await client.post("/mock/behaviour", json=options)).raise_for_status()

    async def reset(self) -> None:
        """Set its counts to zero."""
        async with _client(self.port) as client:
            (await client.post("/mock/reset")).raise_for_status()


class Stage:
    """A context manager: leaving it ends every process that it started, by id, and deletes the folder."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._endpoints: list[dict[str, Any]] = []

    def __enter__(self) -> "Stage":
        temporary = tempfile.TemporaryDirectory(prefix="roadbalancer-bench-", ignore_cleanup_errors=True)
        self.folder = Path(self._stack.enter_context(temporary))
        self.config = self.folder / "config.yaml"
        try:
            self._redis = EmbeddedRedis(self.folder / "store" / "redis")
            self._stack.callback(self._redis.stop)
            self.redis_url = self._redis.start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, traceback)

    @property
    def redis_pid(self) -> int:
        assert self._redis.process
        return self._redis.process.pid

    def redis(self) -> redis.Redis:
        """Return a client of the embedded server; close it."""
        return redis.Redis.from_url(self.redis_url)

    def start(self, name: str, *command: str, grace: float = 0.0, variables: Mapping[str, str] | None = None) -> Process:
        """Start `python COMMAND` (or a program, if the first word is a path) with these environment variables."""
        words = command if command[0].startswith("/") else (sys.executable, *command)
        process = start_process(name, words, self.folder, grace, variables or {})
        self._stack.callback(process.end)
        return process

    async def model_server(self, name: str, latency: float = 0.0, track_keys: bool = False, slow: float = 0.0) -> ModelServer:
        """Start a simulated model server; a share of `slow` of its answers take twenty times as long."""
        port = free_port()
        options = ["--port", str(port), "--latency", str(latency), "--slow-rate", str(slow)]
        options += [] if track_keys else ["--no-track-keys"]
        process = self.start(f"model server {name}", "-m", "api_roadbalancer.mock", *options)
        await self.until_it_answers(process, port)
        return ModelServer(process, port)

    async def until_it_answers(self, process: Process, port: int, path: str = "/health") -> None:
        """Wait until a server says at `path` that it lives. Raises BenchmarkFailed."""

        async def answers() -> bool:
            if not process.is_running:
                raise process.failure()
            with contextlib.suppress(httpx.HTTPError):
                return (await client.get(path)).status_code == 200
            return False

        async with _client(port) as client:
            await until(answers, START_SECONDS, process.name)

    def configure(self, endpoints: Sequence[tuple[str, ModelServer]], slots: int | str, **settings: Any) -> None:
        """Write the configuration: each endpoint has `slots` slots or "auto", the rest is as it comes unless it is set."""
        entries = [{"name": name, "url": server.url, "max_concurrency": slots} for name, server in endpoints]
        base = {"redis_url": self.redis_url, "store": str(self.folder / "store"), "endpoints": entries}
        self.config.write_text(yaml.safe_dump(base | settings))

    async def workers(self, count: int) -> list[Process]:
        """Start worker processes and wait until they listen."""
        options = ["-m", "api_roadbalancer", "worker", "--config", str(self.config)]
        started = [self.start(f"worker {n}", *options, "--name", f"worker-{n}", grace=15.0) for n in range(1, count + 1)]

        def ready(worker: Process) -> bool:
            if not worker.is_running:
                raise worker.failure()
            return _WORKER_IS_READY.search(worker.log_text()) is not None

        for worker in started:
            await until(lambda worker=worker: ready(worker), START_SECONDS, worker.name)  # type: ignore[misc]
        return started

    @contextlib.asynccontextmanager
    async def node(self) -> AsyncIterator[Node]:
        """Be a producer in this process."""
        configuration = load_configuration(self.config, environ={})
        async with open_node(configuration, self.redis_url, celery_wake(configuration, self.redis_url)) as node:
            yield node


def _client(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10.0)


async def open_job(node: Node, file: FileRecord) -> Job:
    """Open a job on an uploaded file. Raises BenchmarkFailed if it is refused."""
    job = await node.service.submit(JobRequest(file.id, next(iter(file.paths))))
    if job.status is JobStatus.FAILED:
        raise BenchmarkFailed(f"the job was refused: {job.errors[:1]}")
    return job


async def completed(node: Node, job: Job, seconds: float) -> Job:
    """Wait until every line of a job has completed. Raises BenchmarkFailed if one did not."""

    async def is_final() -> bool:
        nonlocal job
        job = await node.service.jobs.get(job.id)
        return job.is_final

    await until(is_final, seconds, f"the end of {job.id}")
    if job.status is not JobStatus.COMPLETED or job.ledger.completed != job.ledger.total:
        raise BenchmarkFailed(f"{job.id} is {job.status}: {job.ledger}")
    return job


async def measured(process: Process) -> dict[str, float]:
    """Wait for a competitor and return what it printed last."""
    await process.finished(CONTENDER_SECONDS)
    try:
        measured: dict[str, float] = json.loads(process.log_text().splitlines()[-1])
    except (IndexError, ValueError) as exc:
        raise process.failure() from exc
    return measured
