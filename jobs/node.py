"""Composes a process: Redis, object store, fleet and job service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from balancer.configuration import Configuration
from balancer.fleet.fleet import Fleet
from balancer.runtime.process import process_name
from balancer.state.redis_connection import AsyncRedis, check_redis, open_redis
from balancer.state.shared_state import state_on
from jobs.dispatch.queueing import Wake
from jobs.fleet import Discoverer
from jobs.fleet.changes import FleetFollower
from jobs.service import JobService
from jobs.storage.object_store import ObjectStore

__all__ = ["Node", "open_node"]


@dataclass(frozen=True, slots=True)
class Node:
    """One process's parts, ready for use on its event loop."""

    process: str
    configuration: Configuration
    redis_url: str
    redis: AsyncRedis
    objects: ObjectStore
    fleet: Fleet
    service: JobService
    follower: FleetFollower


@asynccontextmanager
async def open_node(configuration: Configuration, redis_url: str, wake: Wake, interactive: bool = False) -> AsyncIterator[Node]:
    """Open a node on the running loop; `wake` publishes its shards, `interactive` if people wait for its requests.

    Raises SharedStateUnavailable if Redis does not answer.
    """
    process = process_name()
    redis = open_redis(redis_url)
    try:
        await check_redis(redis, redis_url)
        objects = ObjectStore.open(configuration.store)
        state = state_on(redis, process, configuration.endpoints, interactive=interactive)
        async with Fleet(
            configuration.endpoints,
            state,
            configuration.timeout,
            routes=configuration.routes,
            max_answer_bytes=configuration.max_answer_bytes,
        ) as fleet:
            discoverer = Discoverer(redis, configuration.discover, process)
            await discoverer.look()
            discoverer.start()
            follower = FleetFollower(redis, fleet, configuration)
            await follower.look()
            follower.start()
            try:
                await fleet.refresh_models()
                service = JobService(process, redis, objects, fleet, configuration.strategy, wake)
                yield Node(process, configuration, redis_url, redis, objects, fleet, service, follower)
            finally:
                await discoverer.aclose()
                await follower.aclose()
    finally:
        await redis.aclose()
