"""How fast the lines of a killed worker are sent elsewhere, and that a worker that pauses keeps its own."""

import asyncio
import functools
import os
import signal
import time
from collections import Counter

import psutil

from tests.acceptance.cluster import Cluster, ModelServer, Process, check_each_once, done_lines, ended, submit
from tests.waiting import until


def sent_again(model: ModelServer, before: Counter[str]) -> bool:
    return any(count > before[key] for key, count in model.seen().items() if before[key])


async def settled(model: ModelServer) -> None:
    """Wait until no line has been sent again for two seconds: what a round sees is its own."""
    again, since = 0, time.monotonic()
    while time.monotonic() - since < 2:
        now = sum(count > 1 for count in model.seen().values())
        if now != again:
            again, since = now, time.monotonic()
        await asyncio.sleep(0.2)


def requests_of(worker: Process, model: ModelServer) -> int:
    """How many connections a worker has to the model server; one without any has no line to lose."""
    connections = psutil.Process(worker.pid).net_connections("tcp")
    return sum(bool(each.raddr) and each.raddr.port == model.port and each.status == "ESTABLISHED" for each in connections)


async def test_recovery_of_ten_killed_workers_within_5_seconds_each(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 16}, latency=0.5)
    cluster.write_config()
    workers = [await cluster.start_worker() for _ in range(3)]
    names = [f"r{number}" for number in range(20_000)]
    times: list[float] = []
    async with cluster.node() as node:
        job = await submit(node, names)
        for round_number in range(10):
            await until(lambda: model.stats["in_flight"] == 16, 30, "all slots to be used")
            before = model.seen()
            held = {worker.pid: requests_of(worker, model) for worker in workers}
            victim = max(workers, key=lambda worker: held[worker.pid])
            assert held[victim.pid] > 0
            workers.remove(victim)
            victim.kill()
            killed_at = time.monotonic()

            await until(functools.partial(sent_again, model, before), 20, "a line to be sent again")
            times.append(time.monotonic() - killed_at)
            connections = list(held.values())
            print(f"kill {round_number + 1}: first line sent elsewhere after {times[-1]:.2f} s; connections {connections}")
            workers.append(await cluster.start_worker())
            await settled(model)
        await node.service.cancel(job.id)
    assert max(times) < 5, times


async def test_recovery_takes_nothing_back_from_a_worker_that_pauses_3_seconds(cluster: Cluster) -> None:
    await cluster.start_model("m", {"max_concurrency": 16}, latency=0.2)
    cluster.write_config()
    workers = [await cluster.start_worker() for _ in range(2)]
    names = [f"r{number}" for number in range(1500)]
    async with cluster.node() as node:
        job = await submit(node, names)

        async def under_way() -> bool:
            return await done_lines(node, job) > 100

        await until(under_way, what="the job to be under way")
        os.kill(workers[0].pid, signal.SIGSTOP)
        await asyncio.sleep(3)
        os.kill(workers[0].pid, signal.SIGCONT)
        job = await ended(node, job)
        await check_each_once(node, job, names)
    assert not [worker for worker in workers if b"took back" in worker.log.read_bytes()]
