"""Celery's consumer with a short reconnect interval and a heartbeat of its loop.

Celery waits longer after each failed attempt to connect, up to 30 s; the way to the broker may be free again long before that.
"""

import time
from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

__all__ = ["LoopHeartbeat", "PromptConsumer"]

RECONNECT_EVERY = 1.0
"""Seconds between attempts to connect."""
BEAT_EVERY = 1.0

log = get_logger(__name__)


class PromptConsumer(Consumer):  # type: ignore[misc]
    """Tries to connect each second, for as long as it takes."""

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, and return the connection.

        Each attempt is a beat: a loop that can't connect does not hang. A Redis that has lost its replicas answers and refuses
        to write, so that there is no connection for as long as that lasts.
        """
        LoopHeartbeat.beat()

        def failed(error: Exception, interval: float) -> None:
            LoopHeartbeat.beat()
            log.warning("the broker can't be reached (%s); trying again in %g s", error, interval)

        found = conn.ensure_connection(
            failed, None, interval_start=RECONNECT_EVERY, interval_step=0, interval_max=RECONNECT_EVERY, callback=maybe_shutdown
        )
        self.first_connection_attempt = False
        return found


class LoopHeartbeat(bootsteps.StartStopStep):  # type: ignore[misc]
    """Sets `alive_at` (monotonic seconds) from the consumer's loop, each second that it goes round, and when it connects."""

    requires = ("celery.worker.consumer.mingle:Mingle",)
    alive_at = time.monotonic()
    _timer: Callable[..., None] | None = None

    def start(self, parent: Any) -> None:
        """Begin to beat."""
        self.stop(parent)
        self._timer = parent.timer.call_repeatedly(BEAT_EVERY, self.beat)

    def stop(self, parent: Any) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()  # type: ignore[attr-defined]
            self._timer = None

    @staticmethod
    def beat() -> None:
        """Say that the loop goes round."""
        LoopHeartbeat.alive_at = time.monotonic()
