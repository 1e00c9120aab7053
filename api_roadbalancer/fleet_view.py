"""Reads the current state of all endpoints for display."""

import time

from api_roadbalancer.progress import EndpointView
from balancer.state import keys as balancer_keys
from balancer.state.slots.shared import in_flight
from jobs.dispatch.queueing import queue_name
from jobs.node import Node

__all__ = ["fleet_views"]


async def fleet_views(node: Node) -> list[EndpointView]:
    """Return every endpoint's state, as all processes share it."""
    await node.fleet.health.refresh()
    views = []
    for name, endpoint in node.fleet.endpoints.items():
        health = node.fleet.health[name]
        held = await node.redis.hvals(balancer_keys.slots(name))
        views.append(
            EndpointView(
                name=name,
                circuit=health.circuit,
                in_flight=sum(in_flight(entry, time.time()) for entry in held),
                max_concurrency=endpoint.max_concurrency,
                latency=health.latency,
                failed=health.failed,
                queued=int(await node.redis.llen(queue_name(name))),
                last_error=health.last_error,
            )
        )
    return views
