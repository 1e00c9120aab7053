"""Reads the state of endpoints, workers and jobs from Redis."""

import time
from collections import Counter
from dataclasses import dataclass

from balancer.state import keys as balancer_keys
from balancer.state.concurrency import Limit
from balancer.state.health import Health
from balancer.state.slots.shared import in_flight
from jobs.dispatch.queueing import queue_name
from jobs.node import Node
from jobs.storage import keys

__all__ = ["EndpointState", "endpoint_states", "jobs_by_status", "serving_workers"]

ASK_AT_ONCE = 1000
"""Records that are asked for in one round trip."""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """One endpoint now: requests in flight (all processes) and how many may be, lines given to it that are not finished, messages
    in its queue, and whether it gets nothing more."""

    name: str
    health: Health
    in_flight: int
    limit: Limit
    open_lines: int
    queued: int
    draining: bool = False


async def endpoint_states(node: Node) -> list[EndpointState]:
    """Return every endpoint's state, in the order of the configuration."""
    names = list(node.fleet.endpoints)
    await node.fleet.health.refresh()
    await node.fleet.limits.refresh()
    async with node.redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.hvals(balancer_keys.slots(name))
            pipe.hvals(keys.open_lines(name))
            pipe.llen(queue_name(name))
        answers = await pipe.execute()
    now = time.time()
    return [
        EndpointState(
            name=name,
            health=node.fleet.health[name],
            in_flight=sum(in_flight(entry, now) for entry in answers[3 * i]),
            limit=node.fleet.limits[name],
            open_lines=sum(int(lines) for lines in answers[3 * i + 1]),
            queued=int(answers[3 * i + 2]),
            draining=name in node.fleet.draining,
        )
        for i, name in enumerate(names)
    ]


async def serving_workers(node: Node) -> dict[str, list[str]]:
    """Return the worker processes that live, each with the endpoints that it works for."""
    now_ms = time.time() * 1000
    workers: dict[str, list[str]] = {}
    for process, value in (await node.redis.hgetall(keys.SERVING)).items():
        expires, *names = value.decode().split("|")
        if float(expires) > now_ms:
            workers[process.decode()] = names
    return workers


async def jobs_by_status(node: Node) -> dict[str, int]:
    """Count all jobs by their status."""
    ids = [job_id.decode() for job_id in await node.redis.zrange(keys.JOBS, 0, -1)]
    counts: Counter[str] = Counter()
    for start in range(0, len(ids), ASK_AT_ONCE):
        async with node.redis.pipeline(transaction=False) as pipe:
            for job_id in ids[start : start + ASK_AT_ONCE]:
                pipe.hget(keys.job(job_id), "status")
            counts.update(status.decode() for status in await pipe.execute() if status)
    return dict(counts)
