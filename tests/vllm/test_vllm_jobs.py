"""Jobs over two real vLLM servers that run on this machine with `--enable-prefix-caching`. Both stop and go on again.

Each engine needs a core of its own: engines that share one spin while they wait for each other.
"""

import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from jobs.node import Node
from tests.acceptance.cluster import Cluster, Process, check_each_once, done_lines, ended
from tests.vllm.servers import PIDS, URLS, model, stories, submit, total
from tests.waiting import until

DOCUMENTS, QUESTIONS = 150, 8
DOCUMENT_WORDS = 260
"""About a thousand tokens of the toy model that is mostly used for this."""

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        len(URLS) != 2 or len(PIDS) != 2, reason="wants two servers in VLLM_URLS and their processes in VLLM_PIDS"
    ),
]


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[tuple[Cluster, Process]]:
    """A fleet of the two servers, and its worker."""
    cluster = Cluster(tmp_path)
    cluster.start_redis()
    for number, url in enumerate(URLS):
        cluster.settings["endpoints"].append({"name": f"vllm-{number}", "url": url, "max_concurrency": 16})
    cluster.write_config()
    try:
        yield cluster, await cluster.start_worker()
    finally:
        cluster.end()


@pytest.fixture
async def node(worker: tuple[Cluster, Process]) -> AsyncIterator[Node]:
    cluster, _ = worker
    async with cluster.node() as node:
        yield node


@contextmanager
def stopped(pid: int, which: Callable[[psutil.Process], bool]) -> Iterator[None]:
    """Stop those processes of a server for a while."""
    server = psutil.Process(pid)
    found = [each for each in (server, *server.children(recursive=True)) if which(each)]
    assert found
    for each in found:
        each.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for each in found:
            each.send_signal(signal.SIGCONT)


def is_engine(process: psutil.Process) -> bool:
    return "EngineCore" in " ".join([process.name(), *process.cmdline()])


async def test_most_prompt_tokens_of_a_shuffled_job_are_cached(node: Node) -> None:
    rng = random.Random(7)
    words = ["light", "stone", "river", "market", "engine", "letter", "winter", "garden", "signal", "mirror"]
    texts = [" ".join(rng.choices(words, k=DOCUMENT_WORDS)) for _ in range(DOCUMENTS)]
    asked = [(text, question) for text in texts for question in range(QUESTIONS)]
    rng.shuffle(asked)
    before = total("prefix_cache_hits_total"), total("prefix_cache_queries_total")
    name = model()
    messages = [[{"role": "system", "content": text}, {"role": "user", "content": f"Question {n}?"}] for text, n in asked]
    job, names = await submit(node, ({"model": name, "messages": each, "max_tokens": 4} for each in messages))
    job = await ended(node, job, 200)
    await check_each_once(node, job, names)
    hits = total("prefix_cache_hits_total") - before[0]
    queries = total("prefix_cache_queries_total") - before[1]
    print(f"{hits / queries:.1%} of {queries:.0f} tokens were cached")
    assert hits / queries >= 0.75


async def test_the_requests_of_a_cancelled_job_are_gone_within_a_second(node: Node) -> None:
    job, names = await submit(node, stories(8, 1500))
    await until(lambda: total("num_requests_running") == 8, 30, "all of them to run")
    await node.service.cancel(job.id)
    at = time.monotonic()
    await until(lambda: total("num_requests_running") + total("num_requests_waiting") == 0, 10, "the servers to be idle")
    took = time.monotonic() - at
    print(f"idle {took:.2f} s after a job was cancelled")
    await check_each_once(node, await ended(node, job), names)
    assert took < 1.0


async def test_a_server_that_stops_near_the_end_costs_less_than_ten_seconds(node: Node) -> None:
    """Its requests are sent to the other one as well: 16 are within the two per cent that may be."""
    job, names = await submit(node, stories(1200, 40))

    async def is_near_the_end() -> bool:
        return await done_lines(node, job) >= 1150 and total("num_requests_running", URLS[1:]) > 0

    await until(is_near_the_end, 120, "the end to be near")
    with stopped(PIDS[1], lambda process: True):
        at = time.monotonic()
        job = await ended(node, job, 60)
        took = time.monotonic() - at
    print(f"done {took:.1f} s after one of two servers was stopped")
    await check_each_once(node, job, names)
    assert job.ledger.failed == 0
    assert took < 10


async def test_a_server_whose_engine_stops_is_noticed(worker: tuple[Cluster, Process], node: Node) -> None:
    job, names = await submit(node, stories(2000, 40))

    async def is_under_way() -> bool:
        return await done_lines(node, job) >= 100

    await until(is_under_way, 60, "the job to be under way")
    with stopped(PIDS[0], is_engine):
        at = time.monotonic()
        log = worker[1].log
        await until(lambda: "vllm-0 is left: its engine stands still" in log.read_text(), 40, "the endpoint to be left")
        print(f"left {time.monotonic() - at:.1f} s after its engine was stopped")
        job = await ended(node, job, 120)
    await check_each_once(node, job, names)
    assert job.ledger.failed == 0
