"""A dispatcher and a janitor over one Redis, with a queue that only counts."""

import asyncio
import math
from collections import Counter
from collections.abc import Sequence

from balancer.configuration import HealthCheck
from balancer.endpoint import Endpoint
from balancer.fleet.fleet import Fleet
from balancer.outcome import Failure, FailureKind, Outcome
from balancer.routing import BalancingStrategy
from balancer.state.shared_state import state_on
from jobs.dispatch.dispatcher import Dispatcher, announce_serving
from jobs.errors import QueueUnavailable
from jobs.fleet.changes import FleetChanges
from jobs.records import Shard
from jobs.results.endings import Endings
from jobs.upkeep.janitor import Janitor
from jobs.upkeep.sweep import Sweep
from jobs.webhooks.delivery import Deliveries
from tests.job_bench import Bench

__all__ = ["DispatchProcess", "endpoints"]


class Queue:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.shards: list[Shard] = []
        self.broken = False

    async def publish(self, shards: Sequence[Shard]) -> None:
        if self.broken:
            raise QueueUnavailable("the broker is away")
        self.shards += shards


class DispatchProcess:
    """One process's fleet, dispatcher and janitor."""

    def __init__(self, bench: Bench, endpoints: Sequence[Endpoint], strategy: BalancingStrategy, process: str = "p1") -> None:
        self.bench = bench
        self.queue = Queue()
        self.fleet = Fleet(endpoints, state_on(bench.redis, process, endpoints))
        self.dispatcher = Dispatcher(bench.redis, self.fleet, bench.table, self.queue.publish, strategy)
        self.endings = Endings(bench.assembly(process), bench.jobs)
        self.sweep = Sweep(bench.redis, bench.jobs, bench.files, bench.objects)
        self.redis_unbroken_for = math.inf
        self.janitor = Janitor(
            process, bench.redis, self.fleet, bench.jobs, bench.table, self.endings, self.sweep, self.dispatcher,
            HealthCheck(enabled=False), FleetChanges(bench.redis, tuple(endpoints)), Deliveries(bench.redis, bench.jobs, False),
            lambda: self.redis_unbroken_for,
        )  # fmt: skip

    async def end_and_expire(self) -> None:
        """Let the janitor end what can be ended, and wait for it."""
        await self.janitor._end_and_expire()
        await asyncio.gather(*self.endings._under_way.values())

    async def serve(self, *names: str, process: str = "w1", seconds: float = 60.0) -> None:
        await announce_serving(self.bench.redis, process, list(names), seconds)

    async def fail(self, name: str) -> None:
        """Let an endpoint's circuit open."""
        failure = Failure(FailureKind.CONNECTION, "refused")
        await self.fleet.health.check_failed(Outcome(name, 0.1, failure=failure))
        await self.fleet.health.refresh()

    def lines(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for shard in self.queue.shards:
            found[shard.endpoint] += shard.lines
        return found


def endpoints(*names: str, **options: object) -> list[Endpoint]:
    return [Endpoint(f"http://{name}/v1", name=name, models={"m": "m"}, max_concurrency=8, **options) for name in names]  # type: ignore[arg-type]
