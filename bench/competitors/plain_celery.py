"""Plain Celery: one task for each request, threads, an httpx.Client for each thread, results in a Redis list.

A worker is `celery -A bench.competitors.plain_celery worker --pool=threads`; this module as a program publishes the tasks and
waits for the last result. The list is cheaper than a result backend, and delivery is at most once: both favour Celery.
"""

import argparse
import os
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import orjson
import redis
from celery import Celery
from celery.signals import worker_ready

__all__ = ["READY", "RESULTS", "app", "ask"]

REDIS_URL = "BENCH_REDIS_URL"
"""The variable with the address of Redis."""
MODEL_URL = "BENCH_MODEL_URL"
"""The variable with the base URL of the model server."""
READY = "bench:celery:ready"
"""List of the workers that listen."""
RESULTS = "bench:celery:results"
"""List of the finished lines."""
LOOK_EVERY = 0.02

app = Celery("plain", broker=os.environ.get(REDIS_URL), set_as_current=False)
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
_store = redis.Redis.from_url(os.environ.get(REDIS_URL, "redis://"))
_thread = threading.local()


@app.task(name="plain.ask")  # type: ignore[untyped-decorator]
def ask(custom_id: str, body: dict[str, Any]) -> None:
    """Send one request and keep its answer."""
    if not hasattr(_thread, "client"):
        _thread.client = httpx.Client(timeout=60.0)
    answer = _thread.client.post(f"{os.environ[MODEL_URL]}/chat/completions", json=body).raise_for_status().json()
    _store.rpush(RESULTS, orjson.dumps({"custom_id": custom_id, "response": answer}))


@worker_ready.connect  # type: ignore[untyped-decorator]
def _tell(**_: Any) -> None:
    _store.rpush(READY, os.getpid())


def main() -> None:
    """Publish a task for each line, wait for all results, and print the seconds of it all and of the publishing alone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("--lines", type=int, required=True)
    parser.add_argument("--patience", type=float, required=True, help="seconds to wait for the results")
    arguments = parser.parse_args()
    started = time.perf_counter()
    with arguments.source.open("rb") as source, app.producer_pool.acquire(block=True) as producer:
        for raw in islice(source, arguments.lines):
            line = orjson.loads(raw)
            ask.apply_async((line["custom_id"], line["body"]), producer=producer)
    published = time.perf_counter() - started
    while _store.llen(RESULTS) < arguments.lines:
        if time.perf_counter() - started > arguments.patience:
            raise SystemExit(f"only {_store.llen(RESULTS)} of {arguments.lines} results came")
        time.sleep(LOOK_EVERY)
    seconds = time.perf_counter() - started
    print(orjson.dumps({"seconds": seconds, "published": published}).decode())


if __name__ == "__main__":
    main()
