"""The Celery app and the message of a shard.

A message names a shard and its token, and nothing of the lines. The lease table is the truth. Celery is imported where it is
used: most commands publish nothing, and would start a tenth of a second later for it.
"""

import asyncio
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from balancer.configuration import Configuration
from balancer.state.cluster import HASH_TAG, ClusterAddress
from balancer.state.redis_connection import CONNECT_TIMEOUT
from balancer.state.sentinel import BlockingPrimaryConnection, BlockingPrimaryTlsConnection, SentinelAddress
from jobs.dispatch.queueing import Wake, queue_name
from jobs.errors import QueueUnavailable
from jobs.records import Shard

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["SHARD_TASK", "celery_wake", "make_celery", "message", "wake_through"]

BROKER_TIMEOUT = 2.5
"""Seconds that a command of Celery's may take: its consumer waits for one after the other, for BRPOP a second at most."""
SHARD_TASK = "roadbalancer.shard"
VISIBILITY_TIMEOUT = 3600
"""Seconds after which Celery delivers an unacknowledged message again; a lease mends things long before that."""


def make_celery(redis_url: str, endpoints: Iterable[str] = ()) -> "Celery":
    """Return a Celery app on `redis_url` with a queue for each endpoint, set for at-least-once delivery."""
    from celery import Celery
    from kombu import Queue

    queues = [queue_name(name) for name in endpoints]
    broker = _broker(redis_url)
    app = Celery("roadbalancer", broker=broker.url, set_as_current=False)
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=True,
        task_send_sent_event=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_create_missing_queues=True,
        task_queues=[Queue(name, routing_key=name) for name in queues] or None,
        # No queue but the endpoints' own is ever made.
        task_default_queue=queues[0] if queues else "celery",
        task_serializer="json",
        accept_content=["json"],
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT,
            "unacked_restore_throttle": 1,
            # A connection may be dead without anybody saying so: then nothing on it may be waited for.
            "health_check_interval": 2,
            "socket_timeout": BROKER_TIMEOUT,
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_keepalive": True,
            "priority_steps": [0],
            **broker.options,
        },
        broker_use_ssl=broker.tls,
        broker_transport=broker.transport,
    )
    return app


@dataclass(frozen=True, slots=True)
class _Broker:
    """A Redis as kombu names it: the URL, options of its transport, and those of TLS."""

    url: str
    options: Mapping[str, object] = field(default_factory=dict)
    tls: Mapping[str, object] | None = None
    transport: type | None = None
    """Another one than the URL's scheme stands for."""


def _broker(redis_url: str) -> _Broker:
    if (behind := SentinelAddress.parse(redis_url)) is not None:
        return _behind_sentinel(redis_url, behind)
    if (cluster := ClusterAddress.parse(redis_url)) is not None:
        return _in_cluster(redis_url, cluster)
    return _Broker(redis_url.replace("unix://", "redis+socket://", 1) if redis_url.startswith("unix://") else redis_url)


def _behind_sentinel(redis_url: str, behind: SentinelAddress) -> _Broker:
    from kombu.transport.redis import SentinelChannel

    channel: Any = SentinelChannel
    channel.connection_class = BlockingPrimaryConnection
    channel.connection_class_ssl = BlockingPrimaryTlsConnection
    url = ";".join(f"sentinel://{host}/{behind.database}" for host in _hosts(redis_url, behind.hosts))
    options = {"master_name": behind.service, "sentinel_kwargs": behind.blocking_sentinel_options}
    return _Broker(url, options, _tls(behind))


def _in_cluster(redis_url: str, cluster: ClusterAddress) -> _Broker:
    """Connections ask where the slot is, wherever the URL leads; kombu puts the hash tag before its keys."""
    from kombu.transport.redis import Channel, Transport

    plain, tls = cluster.broker_connection_classes
    channel: Any = type("ClusterChannel", (Channel,), {"connection_class": plain, "connection_class_ssl": tls})
    transport = type("ClusterTransport", (Transport,), {"Channel": channel})
    scheme = "rediss" if cluster.has_tls else "redis"
    url = f"{scheme}://{next(_hosts(redis_url, cluster.hosts))}/0"
    return _Broker(url, {"global_keyprefix": HASH_TAG}, _tls(cluster), transport)


def _hosts(redis_url: str, hosts: Iterable[tuple[str, int]]) -> Iterator[str]:
    """Yield each host as an URL names it, with the credentials."""
    credentials, at, _ = urlsplit(redis_url).netloc.rpartition("@")
    for host, port in hosts:
        yield f"{credentials}{at}[{host}]:{port}" if ":" in host else f"{credentials}{at}{host}:{port}"


def _tls(address: SentinelAddress | ClusterAddress) -> Mapping[str, object] | None:
    given = {name: value for name, value in address.options.items() if name.startswith("ssl_")}
    return {"ssl_cert_reqs": "required", **given} if address.has_tls else None


def celery_wake(configuration: Configuration, redis_url: str) -> Wake:
    """Return what publishes shards on `redis_url`, in the queues of the configured endpoints."""
    names = [endpoint.name for endpoint in configuration.endpoints]
    return _wake_through(functools.cache(lambda: make_celery(redis_url, names)))


def wake_through(app: "Celery") -> Wake:
    """Return what publishes shards through a Celery app: one message for each, in its endpoint's queue."""
    return _wake_through(lambda: app)


def _wake_through(app_of: "Callable[[], Celery]") -> Wake:
    def publish(shards: Sequence[Shard]) -> None:
        from kombu.exceptions import OperationalError

        app = app_of()
        try:
            with app.producer_pool.acquire(block=True) as producer:
                for shard in shards:
                    app.send_task(SHARD_TASK, producer=producer, **message(shard))
        except OperationalError as exc:
            raise QueueUnavailable(f"shards can't be published: {exc}") from exc

    async def wake(shards: Sequence[Shard]) -> None:
        await asyncio.to_thread(publish, shards)

    return wake


def message(shard: Shard) -> dict[str, object]:
    """Return a shard's message: arguments, the queue, and the readable form that Flower shows."""
    return {
        "args": [shard.job_id, shard.first, shard.end, shard.token],
        "queue": queue_name(shard.endpoint),
        "routing_key": queue_name(shard.endpoint),
        # What tells rows apart stands first: Flower cuts long arguments.
        "argsrepr": f"{shard.endpoint} · {shard.first + 1}-{shard.end} · …{shard.job_id[-4:]}",
        "kwargsrepr": "{}",
    }
