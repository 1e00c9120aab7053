"""The limit that finds itself at a real vLLM server, against a sweep of fixed ones. It says nothing where the server shares its
cores with other programs."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.acceptance.cluster import Cluster
from tests.vllm.servers import URLS, stories, submit, total

SWEEP = (4, 8, 16, 32, 64, 128)
LINES, TOKENS = 30_000, 40
"""Of a job that lasts longer than it is measured."""
LEARNING, WARMING = 30.0, 5.0
"""Seconds before a measurement, of a limit that is learned and of a fixed one."""
SWEEPING, COMPARING = 20.0, 20.0
"""Seconds of each measurement of the sweep, and of those of the best one and of the learned one."""
ROUNDS = 4
"""Short ones in turn: what else the machine does changes within a minute."""

pytestmark = [pytest.mark.timeout(900), pytest.mark.skipif(not URLS, reason="VLLM_URLS names no server")]


async def test_a_limit_that_finds_itself_reaches_95_percent_of_the_best_fixed_one(tmp_path: Path) -> None:
    """The best one of the sweep is measured again, in turn with the learned one: that it was the best was partly chance."""
    sweep = {limit: await tokens_per_second(tmp_path / f"sweep-{limit}", limit, SWEEPING) for limit in SWEEP}
    best = max(sweep, key=lambda limit: sweep[limit])
    learned, fixed = [], []
    for number in range(ROUNDS):
        learned.append(await tokens_per_second(tmp_path / f"learned-{number}", None, COMPARING))
        fixed.append(await tokens_per_second(tmp_path / f"best-{number}", best, COMPARING))
    print("\ntokens/s: " + ", ".join(f"{limit}: {rate:.0f}" for limit, rate in sweep.items()))
    print(f"{best} again: {[round(rate) for rate in fixed]}; learned: {[round(rate) for rate in learned]}")
    assert sum(learned) >= 0.95 * sum(fixed)


async def tokens_per_second(folder: Path, limit: int | None, seconds: float) -> float:
    """Return what the first server makes with that limit of requests in flight; with None it gets no setting but its address."""
    folder.mkdir()
    cluster = Cluster(folder)
    cluster.start_redis()
    cluster.settings["endpoints"].append({"name": "vllm", "url": URLS[0], **({"max_concurrency": limit} if limit else {})})
    cluster.write_config()
    try:
        await cluster.start_worker()
        async with cluster.node() as node:
            job, _ = await submit(node, stories(LINES, TOKENS))
            await asyncio.sleep(WARMING if limit else LEARNING)
            before, at = total("generation_tokens_total", URLS[:1]), time.monotonic()
            await asyncio.sleep(seconds)
            made, took = total("generation_tokens_total", URLS[:1]) - before, time.monotonic() - at
            job = await node.service.cancel(job.id)
            assert job.ledger.completed < LINES, "the server is too fast for a job of so many lines"
            return made / took
    finally:
        cluster.end()
