"""A line whose answer kills its worker: it is given up after three workers, and costs no other line its answer."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import orjson
import psutil

from tests.acceptance.cluster import Cluster, Process, check_each_once, ended, submit
from tests.raw_server import serve_raw

KILLER = "r137"
ANSWER = orjson.dumps({"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}}], "usage": {}})
MODELS = b'{"data":[{"id":"simulated"}]}'


@asynccontextmanager
async def deadly_server(workers: list[Process], seen: Counter[str]) -> AsyncIterator[str]:
    """A model server that kills whichever worker sends it the killer; yields its URL."""

    def sender(port: int) -> int | None:
        for worker in workers:
            with suppress(psutil.Error):
                if any(c.laddr.port == port for c in psutil.Process(worker.pid).net_connections("tcp")):
                    return worker.pid
        return None

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            body = MODELS
            if head.startswith(b"post"):
                size = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
                key = orjson.loads(await reader.readexactly(size))["user"]
                seen[key] += 1
                if key == KILLER and (pid := sender(writer.get_extra_info("peername")[1])):
                    os.kill(pid, signal.SIGKILL)
                    return
                await asyncio.sleep(0.2)
                body = ANSWER
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()

    async with serve_raw(serve) as url:
        yield url


async def keep_running(workers: list[Process]) -> None:
    """Start workers again that have died, as a supervisor does."""
    while True:
        for worker in workers:
            if not worker.alive:
                worker.start()
        await asyncio.sleep(0.1)


async def test_a_line_that_kills_its_workers_is_an_error_line_and_the_others_complete(cluster: Cluster) -> None:
    workers: list[Process] = []
    seen: Counter[str] = Counter()
    async with deadly_server(workers, seen) as url:
        cluster.settings["endpoints"].append({"name": "m", "url": url, "max_concurrency": 8})
        cluster.write_config()
        workers += [await cluster.start_worker() for _ in range(2)]
        supervisor = asyncio.create_task(keep_running(workers))
        names = [f"r{number}" for number in range(200)]
        async with cluster.node() as node:
            began = time.monotonic()
            job = await ended(node, await submit(node, names), 90)
            print(f"done in {time.monotonic() - began:.1f} s; the killer was sent {seen[KILLER]} times")
            output, errors = await check_each_once(node, job, names)
        supervisor.cancel()
    assert [(row["custom_id"], row["error"]["code"]) for row in errors] == [(KILLER, "worker_lost")]
    assert len(output) == 199
    assert seen[KILLER] == 3
