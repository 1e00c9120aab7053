"""One worker's parts before simulated servers, to run single shards."""

import random
from collections.abc import AsyncIterator, Sequence

import orjson

from api_roadbalancer.mock import Behaviour, MockServer, serve
from balancer.endpoint import Endpoint
from balancer.fleet.fleet import Fleet
from balancer.state.health import HealthPolicy
from balancer.state.shared_state import state_on
from jobs.access.pacing import KeyPacer
from jobs.intake.files import Upload
from jobs.records import Job, Shard
from jobs.results.records import Source
from tests.job_bench import Bench, input_line, new_job
from workers.shards.hedging import Hedging
from workers.shards.recorder import Recorder
from workers.shards.retrying import RetryPolicy
from workers.shards.run_context import RunContext
from workers.shards.shard_run import ShardRun

__all__ = ["PATIENT", "POLICY", "Worker", "mock", "with_model"]


POLICY = RetryPolicy(attempts=2, first=0.01, longest=0.02, longest_outage=0.02)
PATIENT = HealthPolicy(failures_to_open=10**6)


class Worker:
    """One worker process's parts, and the servers that it sends to."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.servers: dict[str, MockServer] = {}
        self.most_hedges = 0.0
        self.fleet: Fleet
        self.context: RunContext

    async def start(self, *endpoints: Endpoint, timeout: float = 5.0, policy: HealthPolicy = PATIENT, **servers: object) -> None:
        """Start a server for each endpoint without an address (`servers` has their behaviour by name) and the worker."""
        made = []
        for endpoint in endpoints:
            if endpoint.url == "mock":
                options = servers.get(endpoint.name) or {}
                self.servers[endpoint.name] = await serve(Behaviour().changed(options))  # type: ignore[arg-type]
                fields = {n: getattr(endpoint, n) for n in ("name", "models", "max_concurrency", "priority", "rpm", "price")}
                endpoint = Endpoint(self.servers[endpoint.name].url, **fields)
            made.append(endpoint)
        self.fleet = Fleet(made, state_on(self.bench.redis, "worker", made, policy), timeout)
        await self.fleet.__aenter__()
        self.recorder = Recorder(self.bench.table)
        self.recorder.start()
        self.context = RunContext(
            self.fleet,
            self.bench.table,
            self.bench.objects,
            self.recorder,
            POLICY,
            random.Random(1),
            Hedging(self.most_hedges),
            KeyPacer(self.bench.redis),
        )

    async def close(self) -> None:
        if hasattr(self, "fleet"):
            await self.recorder.aclose()
            await self.fleet.__aexit__(None, None, None)
        for server in self.servers.values():
            await server.close()

    async def shard(
        self, lines: int, endpoint: str = "a", models: Sequence[str] = ("m",), max_cost: float | None = None
    ) -> tuple[Job, Shard]:
        """Open a job of so many lines and claim it all as one shard."""
        content = [with_model(input_line(n), models[n % len(models)]) for n in range(lines)]
        return await self.shard_of(content, endpoint, max_cost)

    async def shard_of(self, lines: Sequence[bytes], endpoint: str = "a", max_cost: float | None = None) -> tuple[Job, Shard]:
        """Open a job of these lines and claim it all as one shard."""

        async def once() -> AsyncIterator[bytes]:
            yield b"".join(lines)

        record = await self.bench.files.add(Upload("in.jsonl"), once())
        job = await self.bench.jobs.open(new_job(self.bench.job_id(), record, max_cost=max_cost))
        return job, await self.bench.claim(await self.bench.cut(job, 0, len(lines), endpoint))

    def run(self, job: Job, shard: Shard, waits: int = 0) -> ShardRun:
        return ShardRun(shard, job, waits, self.context)

    async def results(self, job: Job) -> dict[int, tuple[bool, dict[str, object]]]:
        """Line number -> (whether it failed, the line)."""
        found = self.bench.results.finished(job)
        return {result.number: (result.source is Source.FAILED, orjson.loads(result.line)) async for result in found}

    def nothing_is_held(self) -> bool:
        return all(self.fleet.slots.in_use(name) == 0 for name in self.fleet.endpoints)


def with_model(line: bytes, model: str) -> bytes:
    entry = orjson.loads(line)
    entry["body"]["model"] = model
    return orjson.dumps(entry) + b"\n"


def mock(name: str, **options: object) -> Endpoint:
    return Endpoint("mock", name=name, **options)  # type: ignore[arg-type]
