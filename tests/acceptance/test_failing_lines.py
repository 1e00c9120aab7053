"""Lines that fail wherever they go, beside others that do not."""

import time

import pytest

from tests.acceptance.cluster import Cluster, check_each_once, ended, submit
from tests.acceptance.test_fairness import ids
from tests.waiting import until


@pytest.mark.exclusive
async def test_lines_that_always_fail_do_not_hold_up_others(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 16}, latency=0.1)
    model.behave(break_custom=["bad-"])
    cluster.write_config()
    await cluster.start_worker()
    async with cluster.node() as node:
        healthy = await submit(node, names := ids("healthy", 300))
        await until(lambda: model.stats["completed"] > 20, what="a job under way")
        started_at = time.monotonic()
        mixed = await submit(node, ids("bad", 20) + ids("ok", 400))
        healthy = await ended(node, healthy, 30)
        # 16 slots, half of them for each job, are 80 lines a second.
        assert time.monotonic() - started_at < 280 / 80 + 2
        await check_each_once(node, healthy, names)
        mixed = await ended(node, mixed, 60)
        assert time.monotonic() - started_at < 30
        output, errors = await check_each_once(node, mixed, ids("bad", 20) + ids("ok", 400))
    assert len(output) == 400
    assert {row["error"]["code"] for row in errors} == {"server_error"}
    assert {model.seen()[name] for name in ids("bad", 20)} == {5}, "each has its attempts, and no more"
