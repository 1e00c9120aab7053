"""The API on a loopback port, in a thread of its own, and hands that do a worker's part."""

import json
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import orjson

from balancer.configuration import Configuration
from balancer.outcome import Usage
from jobs.dispatch.dispatcher import announce_serving
from jobs.dispatch.lease_table import FinishedLine
from jobs.node import Node
from jobs.records import Shard
from jobs.results.formats import request_id
from jobs.storage import object_store
from producer_api.context import Limits
from producer_api.server import make_server
from tests.waiting import until_blocking
from workers.messages import celery_wake

PATIENCE_S = 20.0


class LiveServer:
    """A running server; `stop` it."""

    def __init__(self, configuration: Configuration, redis_url: str, limits: Limits | None = None) -> None:
        self.server = make_server(configuration, redis_url, celery_wake(configuration, redis_url), "127.0.0.1", 0, limits)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._socket]}, name="api")

    def start(self) -> "LiveServer":
        self._thread.start()
        until_blocking(lambda: self.server.started or not self._thread.is_alive())
        assert self.server.started
        return self

    @property
    def asks_for_keys(self) -> bool:
        """Whether it has seen an API key, and asks each request for one."""
        return not self.server.config.app.state.context.access._authenticator._open_door  # type: ignore[union-attr]

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(PATIENCE_S)
        self._socket.close()
        assert not self._thread.is_alive()


StartServer = Callable[..., LiveServer]


class Hands:
    """Does by hand what workers do: claims the shards of a job, records lines, closes what is done."""

    def __init__(self, node: Node, job_id: str) -> None:
        self._node = node
        self._job_id = job_id
        self._claimed: dict[int, Shard] = {}

    async def finish(self, numbers: Iterable[int], failed: Iterable[int] = (), size: int = 0) -> None:
        """Record lines (of at least `size` bytes) as completed or failed. A shard whose lines are all there is closed."""
        failed = set(failed)
        wanted = {*numbers, *failed}
        await self._claim()
        for shard in list(self._claimed.values()):
            lines = [n for n in range(shard.first, shard.end) if n in wanted]
            wanted.difference_update(lines)
            await self._record(shard, lines, failed, size)
        assert not wanted, f"lines {wanted} are in no open shard"

    async def _claim(self) -> None:
        table = self._node.service.shards
        for first in await table.open_of(self._job_id):
            if first in self._claimed:
                continue
            state = await table.state(self._job_id, first)
            claim = await table.claim(self._job_id, first, int(state["end"]), state["token"], "by hand")
            assert claim.shard is not None
            self._claimed[first] = claim.shard

    async def _record(self, shard: Shard, numbers: list[int], failed: set[int], size: int) -> None:
        table = self._node.service.shards
        done = [
            FinishedLine(n, result_line(self._job_id, n, n in failed, size), n in failed, Usage(10, 5, 2, 1)) for n in numbers
        ]
        if done:
            await table.record([(shard, done)])
        recorded = await table.finished(shard)
        if len(recorded) == shard.lines:
            part = b"".join(b"%d%b\n" % (is_failed, line) for _, (is_failed, line) in sorted(recorded.items()))
            await self._node.objects.write(object_store.part_path(shard.job_id, shard.first, shard.end), part)
            await table.commit(shard)
            del self._claimed[shard.first]
            await self._node.service.dispatcher.run()

    async def end(self) -> None:
        """End the job, whose lines are done."""
        assert await self._node.service.assembly.end_if_done(self._job_id)


async def open_for_work(node: Node, seconds: float = 60.0) -> None:
    """Say that a worker listens to every endpoint, so that jobs are cut."""
    await announce_serving(node.redis, "by-hand", list(node.fleet.endpoints), seconds)


def result_line(job_id: str, number: int, failed: bool = False, size: int = 0) -> bytes:
    answer = {"role": "assistant", "content": f"a{number}" + "." * size}
    body = {"error": {"message": "no"}} if failed else {"choices": [{"message": answer}]}
    response = {"status_code": 400 if failed else 200, "request_id": "r", "body": body}
    custom_id = f"c{number}"
    return orjson.dumps({"id": request_id(job_id, number), "custom_id": custom_id, "response": response, "error": None})


def batch_lines(count: int, model: str = "m") -> bytes:
    return b"".join(batch_line(f"c{number}", model) for number in range(count))


def batch_line(custom_id: str, model: str = "m", **changes: Any) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    line = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body} | changes
    return json.dumps(line).encode() + b"\n"


def upload(http: httpx.Client, content: bytes, purpose: str = "batch", name: str = "in.jsonl") -> dict[str, Any]:
    response = http.post("/v1/files", data={"purpose": purpose}, files={"file": (name, content)})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def create_batch(http: httpx.Client, file_id: str, **fields: Any) -> dict[str, Any]:
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"} | fields
    response = http.post("/v1/batches", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def error_of(response: httpx.Response) -> dict[str, Any]:
    """Return the error in the envelope, which has nothing else."""
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = body["error"]
    return error
