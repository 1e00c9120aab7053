"""Answers that are too large, and answers that do not come: neither stalls a worker or keeps a job from its end."""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil

from tests.acceptance.cluster import Cluster, check_each_once, done_lines, ended, submit
from tests.raw_server import serve_raw
from tests.waiting import until

MB = 1024 * 1024


def zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(MB)) for _ in range(megabytes)) + packer.flush()


@asynccontextmanager
async def bomb_server(megabytes: int) -> AsyncIterator[str]:
    """A model server whose every answer is packed and unpacks to so many megabytes; yields its URL."""
    packed = zeros(megabytes)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(
        packed
    )

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        listing = b'{"data":[{"id":"bomb"}]}'
        if request.startswith(b"GET"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(listing) + listing)
        else:
            writer.write(head + packed)
        await writer.drain()

    async with serve_raw(answer) as url:
        yield url


async def test_an_answer_that_unpacks_to_half_a_gigabyte_is_an_error_line(cluster: Cluster) -> None:
    async with bomb_server(545) as url:
        await cluster.start_model("good", {"max_concurrency": 8, "models": ["simulated"]}, latency=0.02)
        cluster.settings["endpoints"].append({"name": "bomb", "url": url, "models": ["bomb"], "max_concurrency": 4})
        cluster.write_config()
        worker = await cluster.start_worker()
        largest = 0
        async with cluster.node() as node:
            bad = await submit(node, [f"bad-{n}" for n in range(6)], model="bomb")
            names = [f"good-{n}" for n in range(600)]
            good = await submit(node, names)
            while not (await node.service.jobs.get(bad.id)).is_final or not (await node.service.jobs.get(good.id)).is_final:
                largest = max(largest, psutil.Process(worker.pid).memory_info().rss)
                await asyncio.sleep(0.02)
            good, bad = await ended(node, good), await ended(node, bad)
            await check_each_once(node, good, names)
            _, errors = await check_each_once(node, bad, [f"bad-{n}" for n in range(6)])
        assert {row["error"]["code"] for row in errors} == {"answer_too_large"}
        assert largest < 400 * MB, f"{largest // MB} MB"


async def test_a_cancelled_job_is_final_in_time_whatever_its_endpoints_do(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 8}, latency=0.02)
    cluster.write_config()
    for _ in range(2):
        await cluster.start_worker()
    async with cluster.node() as node:
        names = [f"r{n}" for n in range(2000)]
        job = await submit(node, names)

        async def under_way() -> bool:
            return await done_lines(node, job) > 100

        await until(under_way, what="the job to be under way")
        model.behave(latency=30.0)
        await until(lambda: model.stats["in_flight"] == 8, what="all slots to hang")
        cancelled_at = time.monotonic()
        await node.service.cancel(job.id)
        await until(lambda: model.stats["in_flight"] == 0, 2.0, what="the requests to be taken back")
        taken_back_after = time.monotonic() - cancelled_at
        job = await ended(node, job, 20)
        assert taken_back_after < 1.2 and time.monotonic() - cancelled_at < 12
        assert job.ledger.balances and job.ledger.completed > 100 and job.ledger.cancelled > 0
        model.behave(latency=0.02)
        other = await ended(node, await submit(node, [f"other-{n}" for n in range(20)]))
        assert other.ledger.completed == 20
        assert model.stats["max_in_flight"] <= 8
