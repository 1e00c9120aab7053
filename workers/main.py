"""Runs one worker process."""

import logging
import os
import signal
import warnings
from collections.abc import Sequence
from typing import Any

from celery.platforms import SecurityWarning
from celery.signals import worker_ready, worker_shutting_down
from celery.utils.nodenames import host_format

from balancer.configuration import SIMULATED_SCHEME, Configuration
from balancer.endpoint import Endpoint
from balancer.errors import ConfigurationError
from balancer.runtime.process import collect_garbage_less_often, raise_descriptor_limit
from balancer.runtime.rereading import note_hangups
from workers.engine import Engine
from workers.messages import make_celery, wake_through
from workers.process.consumer import LoopHeartbeat
from workers.process.pool import ShardThreadPool
from workers.process.queues import ServedQueues
from workers.process.redis_guard import guard_redis_restarts
from workers.process.watchdog import Watchdog
from workers.task import register_shard_task

__all__ = ["run_worker"]

SHARDS_AT_ONCE = 16
"""Shards that one process runs at once at least; requests are bounded by slots, not by these."""
SHARDS_FOR_EACH_ENDPOINT = 6
"""Room for the shards that an endpoint's credit is cut into, and for those of a job that has just come."""

log = logging.getLogger(__name__)


def run_worker(
    configuration: Configuration, redis_url: str, endpoints: Sequence[str] = (), name: str = "", log_level: str = "INFO"
) -> None:
    """Serve the queues of `endpoints` (all of the fleet, whatever is added to it, when none is named) until SIGTERM; then hand
    back what is left within ten seconds.

    Raises ConfigurationError for an endpoint that there is not and SharedStateUnavailable if Redis does not answer.
    """
    raise_descriptor_limit()
    guard_redis_restarts()
    # Celery warns a root user of pickled messages; here only JSON is taken.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    app = make_celery(redis_url, [endpoint.name for endpoint in configuration.endpoints])
    queues = ServedQueues()
    engine = Engine(configuration, redis_url, wake_through(app), endpoints, queues.serve)
    app.conf.worker_consumer = "workers.process.consumer:PromptConsumer"
    app.steps["consumer"].add(LoopHeartbeat)
    register_shard_task(app, engine)
    engine.start()
    try:
        _refuse_what_cannot_be_served(engine.fleet_endpoints, endpoints, bool(configuration.discover))
    except ConfigurationError:
        engine.stop()
        raise
    served = queues.names
    shards_at_once = max(SHARDS_AT_ONCE, SHARDS_FOR_EACH_ENDPOINT * len(served))
    watchdog = Watchdog(engine, redis_url, lambda: queues.names, shards_at_once)
    watchdog.start()

    def on_shutdown(**_: Any) -> None:
        watchdog.stop()
        engine.begin_drain()

    def on_ready(sender: Any, **_: Any) -> None:
        collect_garbage_less_often()
        note_hangups()  # Celery's own handler would start another process in place of this one
        queues.attach(sender)

    worker_ready.connect(on_ready, weak=False)
    worker_shutting_down.connect(on_shutdown, weak=False)
    try:
        # Not by Celery's command line, whose modules (a prompt with completion among them) take 0.4 s to be imported.
        app.Worker(
            quiet=True,
            pool_cls=ShardThreadPool,
            concurrency=shards_at_once,
            queues=sorted(served),
            hostname=host_format(f"{name or f'worker-{os.getpid()}'}@%h"),
            without_gossip=True,
            without_mingle=True,
            task_events=True,
            loglevel=log_level,
        ).start()
    finally:
        engine.stop()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _refuse_what_cannot_be_served(fleet: Sequence[Endpoint], wanted: Sequence[str], more_may_come: bool) -> None:
    names = [endpoint.name for endpoint in fleet]
    for name in wanted:
        if name not in names:
            raise ConfigurationError("--endpoints", name, f"is not configured; there are {', '.join(names) or 'none'}")
    if not fleet and not more_may_come:
        raise ConfigurationError(
            "endpoints", "", "there are none to work for; name some in a configuration file or in LLM_ENDPOINTS"
        )
    for endpoint in fleet:
        if endpoint.url.startswith(SIMULATED_SCHEME) and (not wanted or endpoint.name in wanted):
            reason = "is simulated, and only `run` and `up` start simulations; give it the address of a `roadbalancer mock`"
            raise ConfigurationError("endpoints", endpoint.name, reason)
