"""A limit of the requests in flight that finds itself, over real worker processes."""

import pytest

from tests.acceptance.cluster import Cluster, check_each_once, ended, submit
from tests.acceptance.test_nothing_is_lost import ids
from tests.waiting import until


@pytest.mark.exclusive
async def test_a_server_that_refuses_more_than_eight_is_given_eight(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {}, latency=0.1, max_concurrency=8)
    cluster.write_config()
    for _ in range(2):
        await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(700)
        job = await submit(node, names)
        await until(lambda: model.stats["completed"] >= 150, 30, "the limit to be found")
        before = model.stats
        await until(lambda: model.stats["completed"] >= 600, 30, "the job to come near its end")
        after = model.stats
        await node.fleet.limits.refresh()
        assert node.fleet.limits["m"].value in (8, 9), "9 while it is tried"
        job = await ended(node, job)
        await check_each_once(node, job, names)
    refused = after["by_status"].get("503", 0) - before["by_status"].get("503", 0)
    assert refused <= 0.01 * (after["completed"] - before["completed"])
    rate = (after["completed"] - before["completed"]) / (after["last_at"] - before["last_at"])
    assert rate >= 0.9 * 8 / 0.1, f"{rate:.1f} answers/s"
