"""A job during which the Redis server that is written to ends, or is back after a while, and a replica takes its place."""

import os
import signal
from typing import Protocol

from jobs.storage.durability import make_durable
from tests.acceptance.cluster import HTTP, Cluster, Process, check_each_once, done_lines, ended, recorded, submit
from tests.waiting import until

__all__ = ["ReplicatedRedis", "run_through_failover"]

LINES = 600
AT_ONCE = 16


class ReplicatedRedis(Protocol):
    """Servers by their ports, one of which is written to."""

    servers: dict[int, Process]

    def primary(self) -> int:
        """Return the port of the one that is written to, as the others know it."""


async def run_through_failover(cluster: Cluster, redis: ReplicatedRedis, end: signal.Signals) -> None:
    """Run a job whose Redis is ended by a signal, and check that each line ends once, and none that a replica had seen is sent
    again."""
    model = await cluster.start_model("m", {"max_concurrency": AT_ONCE}, latency=0.15)
    cluster.write_config()
    workers = [await cluster.start_worker(), await cluster.start_worker()]
    _, api = await cluster.start_api()
    async with cluster.node() as node:
        names = [f"line-{number:05d}" for number in range(LINES)]
        job = await submit(node, names)
        await until(lambda: model.stats["completed"] > LINES / 5, what="the job to be under way")
        answered_before = set(model.answered())
        await until(lambda: recorded(node, job, answered_before), 2, "what is answered to be recorded")
        await make_durable(node.redis)
        primary = redis.primary()
        os.kill(redis.servers[primary].pid, end)
        await until(lambda: redis.primary() != primary, what="another primary")
        if end == signal.SIGSTOP:  # it is back, and does what it was sent meanwhile; then it learns of its successor
            os.kill(redis.servers[primary].pid, signal.SIGCONT)
        assert await done_lines(node, job) < LINES, "the job had ended before the failover: the test shows nothing"
        job = await ended(node, job, 60)
        await check_each_once(node, job, names)
        later = await submit(node, [f"later-{number}" for number in range(20)])
        await ended(node, later)
    assert all(worker.alive for worker in workers)
    assert HTTP.get(f"{api}/api/v1/jobs/{job.id}").json()["status"] == "completed"
    again = {name for name, times in model.seen().items() if times > 1}
    assert not again & answered_before, "the replicas had seen these"
    if end == signal.SIGKILL:
        assert len(again) <= 2 * AT_ONCE, "more was sent again than was under way"
