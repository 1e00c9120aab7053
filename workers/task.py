"""The Celery task of a shard."""

import concurrent.futures
import logging
from typing import Any

from celery import Celery, Task
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from workers.engine import Engine, Progress
from workers.messages import SHARD_TASK, message
from workers.shards.retrying import LONGEST_COUNTDOWN
from workers.shards.run_context import Ending

__all__ = ["register_shard_task"]

PROGRESS_EVERY = 1.0
"""Seconds between the events that move a shard's row in Flower."""

log = logging.getLogger(__name__)


def register_shard_task(app: Celery, engine: Engine) -> Task:
    """Register the task on `app`."""

    @app.task(name=SHARD_TASK, bind=True, acks_late=True, max_retries=None, ignore_result=True)
    def run_shard(self: Task, job_id: str, first: int, end: int, token: str) -> str:
        progress = Progress(end - first)
        future = engine.submit(job_id, first, end, token, self.request.retries, progress)
        outcome = _wait(self, future, progress)
        if outcome.ending is Ending.RETRY and outcome.waiting:
            raise self.retry(countdown=min(outcome.countdown, LONGEST_COUNTDOWN), **_retry_options(message(outcome.waiting)))
        return f"{outcome.ending.value}: {progress}"

    return run_shard


def _wait(task: Task, future: "concurrent.futures.Future[Any]", progress: Progress) -> Any:
    """Wait for the shard and tell the monitor how far it is."""
    while True:
        try:
            return future.result(PROGRESS_EVERY)
        except concurrent.futures.TimeoutError:
            if future.done():
                raise
            _show_progress(task, progress)


def _show_progress(task: Task, progress: Progress) -> None:
    try:
        task.send_event("task-progress", result=str(progress))
    except (OperationalError, RedisError, OSError) as exc:
        # The shard goes on; only its row in Flower stands still for now.
        log.debug("progress can't be sent to the monitor: %s", exc)


def _retry_options(message: dict[str, Any]) -> dict[str, Any]:
    return {name: message[name] for name in ("args", "queue", "routing_key", "argsrepr", "kwargsrepr")}
