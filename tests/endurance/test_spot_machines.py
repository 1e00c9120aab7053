"""Endpoints that come and go, as spot machines do."""

import asyncio
import time

from tests.acceptance.cluster import Cluster, check_each_once, ended, submit
from tests.waiting import until

SLOTS, LATENCY = 16, 0.2
GONE_EVERY, GONE_FOR = 20.0, 8.0
"""Seconds."""
ROUNDS = 4


async def test_spot_machines_that_go_every_20_seconds_cost_no_line_and_no_capacity(cluster: Cluster) -> None:
    """Two stay, one is killed every 20 s and is back 8 s later."""
    for name in ("a", "b"):
        await cluster.start_model(name, {"max_concurrency": SLOTS}, latency=LATENCY)
    spot = await cluster.start_model("spot", {"max_concurrency": SLOTS}, latency=LATENCY)
    cluster.write_config()
    for _ in range(2):
        await cluster.start_worker()
    pace = SLOTS / LATENCY
    async with cluster.node() as node:
        warm = await submit(node, [f"warm-{n}" for n in range(600)])
        await ended(node, warm)
        names = [f"r{n}" for n in range(int(3.5 * ROUNDS * GONE_EVERY * pace))]
        job = await submit(node, names)
        done = (await node.service.jobs.get(job.id)).ledger.done
        began = time.monotonic()
        came, there = began, 0.0
        for round_number in range(ROUNDS):
            await at(began + round_number * GONE_EVERY + (GONE_EVERY - GONE_FOR))
            spot.kill()
            there += (time.monotonic() - came) * pace
            await at(began + (round_number + 1) * GONE_EVERY)
            spot.start()
            await until(spot.answers, what="the spot machine to be back")
            came = time.monotonic()
        there += 2 * (time.monotonic() - began) * pace
        ledger = (await node.service.jobs.get(job.id)).ledger
        reached = (ledger.done - done) / there
        job = await ended(node, job, 120)
        await check_each_once(node, job, names)
    print(f"{reached:.1%} of what was there")
    assert job.ledger.failed == 0
    assert reached >= 0.9


async def at(moment: float) -> None:
    """Wait for a moment of the plan."""
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
