"""Endpoints that hang with requests in flight are left, by default settings; slow ones are not."""

import os
import signal
import time

from tests.acceptance.cluster import Cluster, check_each_once, done_lines, ended, submit
from tests.waiting import until


async def test_a_server_that_hangs_is_left_and_its_lines_are_answered_elsewhere(cluster: Cluster) -> None:
    hanging = await cluster.start_model("hanging", {"max_concurrency": 8}, latency=0.1)
    well = await cluster.start_model("well", {"max_concurrency": 8}, latency=0.1)
    cluster.write_config()
    await cluster.start_worker()
    async with cluster.node() as node:
        names = [f"r{n}" for n in range(1500)]
        job = await submit(node, names)

        async def under_way() -> bool:
            return await done_lines(node, job) > 100

        await until(under_way, what="the job to be under way")
        os.kill(hanging.pid, signal.SIGSTOP)
        stopped_at = time.monotonic()
        job = await ended(node, job, 60)
        took = time.monotonic() - stopped_at
        os.kill(hanging.pid, signal.SIGCONT)
        _, errors = await check_each_once(node, job, names)
    assert not errors
    # 15 s until it is left; the other one needs 18 s for all that is left, and answers meanwhile.
    assert took < 35, f"{took:.1f} s"
    assert len(well.answered()) > 1000


async def test_a_slow_answer_among_fast_ones_is_waited_for(cluster: Cluster) -> None:
    """It takes longer than an endpoint may be silent, and the endpoint is asked meanwhile."""
    model = await cluster.start_model("m", {"max_concurrency": 4}, latency=0.05)
    cluster.write_config()
    await cluster.start_worker()
    async with cluster.node() as node:
        job = await submit(node, [f"fast-{n}" for n in range(50)])
        await ended(node, job)
        model.behave(latency=16.0)
        slow = await submit(node, ["slow"])
        slow = await ended(node, slow, 60)
        await check_each_once(node, slow, ["slow"])
    assert model.seen()["slow"] == 1, "it was not sent twice"
