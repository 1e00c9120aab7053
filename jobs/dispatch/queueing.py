"""The queues of shards: their names, and the port through which messages are published.

Celery stands behind the port, in `workers`: nothing here knows of it.
"""

from collections.abc import Awaitable, Callable, Sequence

from jobs.records import Shard, plain_endpoint

__all__ = ["Wake", "queue_name"]

Wake = Callable[[Sequence[Shard]], Awaitable[None]]
"""Puts a message for each shard into the queue of its endpoint, so that a worker claims it. Raises QueueUnavailable."""


def queue_name(endpoint: str) -> str:
    """Return the queue of an endpoint, a Redis list, which is its routing key too. What it is given as batches is in the same."""
    return f"endpoint.{plain_endpoint(endpoint)}"
