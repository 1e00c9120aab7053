"""Jobs whose lines are handed in as provider batches, by real workers that are really killed."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from balancer.outcome import Usage
from tests.acceptance.cluster import Cluster, check_each_once, ended, submit
from tests.fake_providers import FAKE_PROVIDERS, ReceivedRequest, Reply, Script
from tests.fake_providers.base import KEY
from tests.fake_providers.batch_server import BatchServer
from tests.waiting import until

PRICE = {"input": 1.0, "output": 4.0}
USAGE = Usage(prompt=100, completion=50)
COST = (USAGE.prompt * PRICE["input"] + USAGE.completion * PRICE["output"]) / 1e6
"""USD of one line, sent alone."""


@contextmanager
def provider_of(cluster: Cluster, name: str) -> Iterator[BatchServer]:
    """Start a provider with batches, and make it the only endpoint of a cluster."""
    if not cluster.settings.get("redis_url"):
        cluster.start_redis()
    with BatchServer(FAKE_PROVIDERS[name], Script(usage=USAGE)) as server:
        entry = {"name": "a", "url": server.endpoint().url, "provider": name, "models": ["m"], "api_key": KEY, "batch": True}
        cluster.settings["endpoints"].append({**entry, "price": PRICE, "max_concurrency": 64})
        yield server


@pytest.fixture
def provider(cluster: Cluster) -> Iterator[BatchServer]:
    with provider_of(cluster, "openai") as server:
        yield server


async def test_a_cheapest_job_ends_in_its_window_with_most_tokens_at_half_price(cluster: Cluster, provider: BatchServer) -> None:
    rng = random.Random(5)
    # That of a thousand lines would be late: it is cancelled, with a third done.
    provider.seconds_for = lambda requests: {2000: 8.0, 1000: 120.0}.get(requests, 0.2)

    def answer(received: ReceivedRequest) -> Script | Reply:
        return Reply(503, b"{}") if rng.randrange(50) == 0 else Script(usage=USAGE)

    provider.answer = answer
    provider.skips = lambda custom_id: custom_id.endswith("77") and len(provider.batches) == 3  # answers are lost
    cluster.write_config()
    await cluster.start_worker()
    ids = [f"line-{number:04d}" for number in range(5_000)]
    async with cluster.node() as node:
        job = await submit(node, ids, "m", price_class="cheapest", window="60s")
        job = await ended(node, job, 60)
        output, errors = await check_each_once(node, job, ids)
        assert not errors
        assert len(output) == len(ids)
        costs = Counter(round(row["cost"] / COST, 3) for row in output)
        assert set(costs) <= {0.5, 1.0}
        assert costs[0.5] >= 0.8 * len(ids), costs
        assert job.cost == pytest.approx(sum(row["cost"] for row in output))


async def test_no_line_is_handed_in_twice_whenever_a_worker_is_killed(cluster: Cluster, provider: BatchServer) -> None:
    await kill_at_random_moments(cluster, provider, kills=5)


async def kill_at_random_moments(cluster: Cluster, provider: BatchServer, kills: int) -> None:
    """Kill a worker so many times after the upload of a file and before its job's results are recorded; in the end every line
    stands in one batch, and has its answer."""
    rng = random.Random(kills)
    provider.seconds = 0.5
    cluster.write_config()
    lines, killed_between = 20, 0
    jobs = []
    async with cluster.node() as node:
        while killed_between < kills:
            files = len(provider.files)
            jobs.append(await submit(node, [f"line-{number}" for number in range(lines)], "m", price_class="batch", window="1h"))
            worker = await cluster.start_worker()
            await until(lambda: len(provider.files) > files, what="requests to be handed in")  # noqa: B023
            await asyncio.sleep(rng.uniform(0.0, 2.0))  # the moment is drawn at random; nothing is waited for
            worker.kill()
            killed_between += (await node.service.jobs.get(jobs[-1].id)).ledger.done == 0
        await cluster.start_worker()
        for job in jobs:
            job = await ended(node, job, 90)
            output, errors = await check_each_once(node, job, [f"line-{number}" for number in range(lines)])
            assert not errors, errors[0]
            assert {round(row["cost"] / COST, 3) for row in output} == {0.5}
    assert provider.submissions() == Counter({str(number): len(jobs) for number in range(lines)})
