"""A Redis Cluster as one shard: all keys are on the node of one slot, which ends in the middle of a job."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from balancer.state.cluster import HASH_TAG
from jobs.storage.durability import make_durable
from tests.acceptance.cluster import HTTP, Cluster, check_each_once, done_lines, ended, recorded, submit
from tests.acceptance.prefork import Prefork
from tests.acceptance.redis_cluster import RedisCluster
from tests.waiting import until

LINES = 600
AT_ONCE = 16


@pytest.fixture
async def redis_cluster(tmp_path: Path) -> AsyncIterator[RedisCluster]:
    made = RedisCluster(tmp_path)
    try:
        await made.start()
        yield made
    finally:
        for process in made.nodes.values():
            process.end()


@pytest.fixture
async def cluster(tmp_path: Path, prefork: Prefork, redis_cluster: RedisCluster) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path, prefork)
    made.settings["redis_url"] = redis_cluster.url
    try:
        yield made
    finally:
        made.end()


async def test_a_job_outlives_the_node_that_has_its_keys(cluster: Cluster, redis_cluster: RedisCluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": AT_ONCE}, latency=0.15)
    cluster.write_config()
    workers = [await cluster.start_worker(), await cluster.start_worker()]
    _, api = await cluster.start_api()
    async with cluster.node() as node:
        names = [f"line-{number:05d}" for number in range(LINES)]
        job = await submit(node, names)
        await until(lambda: model.stats["completed"] > LINES / 5, what="the job to be under way")
        owner = redis_cluster.owner()
        keys = {port: redis_cluster.ask(port, "KEYS", "*") for port in redis_cluster.nodes if port != owner}
        assert sum(map(len, keys.values())) == len(redis_cluster.ask(owner, "KEYS", f"{HASH_TAG}*")), "its replica has them, too"
        answered_before = set(model.answered())
        await until(lambda: recorded(node, job, answered_before), 2, "what is answered to be recorded")
        await make_durable(node.redis)
        os.kill(redis_cluster.nodes[owner].pid, signal.SIGKILL)
        await until(lambda: redis_cluster.owner() != owner, what="another primary")
        assert await done_lines(node, job) < LINES, "the job had ended before the failover: the test shows nothing"
        job = await ended(node, job, 60)
        await check_each_once(node, job, names)
        later = await submit(node, [f"later-{number}" for number in range(20)])
        await ended(node, later)
    assert all(worker.alive for worker in workers)
    assert HTTP.get(f"{api}/api/v1/jobs/{job.id}").json()["status"] == "completed"
    again = {name for name, times in model.seen().items() if times > 1}
    assert not again & answered_before, "the replica had seen these"
    assert len(again) <= 2 * AT_ONCE, "more was sent again than was under way"
