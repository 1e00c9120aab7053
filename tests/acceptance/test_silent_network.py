"""The way to Redis is silent for a while: nothing arrives, nothing is refused."""

import asyncio
import time
from urllib.parse import urlsplit

from tests.acceptance.cluster import Cluster, check_each_once, ended, submit
from tests.acceptance.lossy_proxy import LossyProxy
from tests.acceptance.test_fairness import ids
from tests.waiting import until

SILENT = 12.0
"""Seconds; every lease is over by then."""
AT_WORK_AGAIN = 10.0
"""Seconds after the way is free again."""


async def test_a_worker_takes_shards_again_soon_after_a_silent_network(cluster: Cluster) -> None:
    await check_silence(cluster, SILENT)


async def check_silence(cluster: Cluster, seconds: float) -> None:
    """Run a job whose only worker's way to Redis is silent for so many seconds."""
    model = await cluster.start_model("m", {"max_concurrency": 8}, latency=0.1)
    url = urlsplit(cluster.settings["redis_url"])
    assert url.port
    async with LossyProxy(url.port) as proxy:
        cluster.write_config(redis_url=url._replace(netloc=url.netloc.replace(str(url.port), str(proxy.port))).geturl())
        worker = await cluster.start_worker()
        cluster.write_config(redis_url=url.geturl())
        async with cluster.node() as node:
            names = ids("line", 600)
            job = await submit(node, names)
            await until(lambda: model.stats["completed"] > 50, what="a job under way")
            proxy.lose()
            await asyncio.sleep(seconds)
            before = model.stats["requests"]
            proxy.heal()
            healed_at = time.monotonic()
            await until(lambda: model.stats["requests"] > before + 20, 150, "the worker to be at work again")
            print(f"silent for {seconds:g} s: at work again after {time.monotonic() - healed_at:.1f} s")
            assert time.monotonic() - healed_at < AT_WORK_AGAIN
            job = await ended(node, job, 120)
            await check_each_once(node, job, names)
    assert worker.alive
    assert "raised unexpected" not in worker.log.read_text()
