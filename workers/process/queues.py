"""The queues that a worker consumes: those of the endpoints that it works for, which may change while it runs."""

import logging
import threading
from collections.abc import Collection, Sequence
from typing import Any

from jobs.dispatch.queueing import queue_name

__all__ = ["ServedQueues"]

log = logging.getLogger(__name__)


class ServedQueues:
    """What the worker's consumer consumes. `serve` may be called from any thread, `attach` when Celery's worker is ready."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: frozenset[str] = frozenset()
        self._consumer: Any = None

    @property
    def names(self) -> Collection[str]:
        """The names of the queues."""
        return self._wanted

    def serve(self, endpoints: Sequence[str]) -> None:
        """Consume the queues of these endpoints, and no others."""
        with self._lock:
            self._wanted = frozenset(map(queue_name, endpoints))
            if self._consumer is not None:
                self._consumer.call_soon(self._adapt)

    def attach(self, consumer: Any) -> None:
        """Take Celery's consumer, which runs from now on. After it has connected anew it consumes the same queues by itself."""
        with self._lock:
            self._consumer = consumer
            consumer.call_soon(self._adapt)

    def _adapt(self) -> None:
        """Add and cancel queues. Runs on the consumer's own thread: its channel belongs to that."""
        consumer = self._consumer
        consumed = {queue.name for queue in consumer.task_consumer.queues}
        for queue in sorted(self._wanted - consumed):
            consumer.add_task_queue(queue, exchange=consumer.app.conf.task_default_exchange, routing_key=queue)
        for queue in sorted(consumed - self._wanted):
            consumer.cancel_task_queue(queue)
        if self._wanted != consumed:
            log.info("consumes %s", ", ".join(sorted(self._wanted)) or "no queue")
