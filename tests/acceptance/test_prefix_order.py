"""Jobs whose lines are sent in an order of their own keep all that other jobs have."""

import random
from collections.abc import AsyncIterator

import orjson
import pytest

from jobs.intake.files import Upload
from jobs.node import Node
from jobs.records import Job
from jobs.results.formats import line_number
from jobs.results.verify import verify_job
from jobs.service import JobRequest
from tests.acceptance.cluster import CHAT, Cluster, done_lines, ended
from tests.waiting import until

DOCUMENTS, LINES = 20, 600


def lines(count: int) -> list[bytes]:
    """Requests about some documents, in no order."""
    rng = random.Random(11)
    texts = ["".join(rng.choices("abcdefgh ", k=1500)) for _ in range(DOCUMENTS)]
    found = []
    for number in range(count):
        content = f"{rng.choice(texts)} question {number}"
        body = {"model": "simulated", "messages": [{"role": "user", "content": content}], "user": f"r{number}"}
        found.append(orjson.dumps({"custom_id": f"r{number}", "method": "POST", "url": CHAT, "body": body}) + b"\n")
    return found


async def submit(node: Node, count: int = LINES, **request: str) -> Job:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"".join(lines(count))

    file = await node.service.files.add(Upload("in.jsonl"), chunks())
    assert file.ordered and not file.errors
    return await node.service.submit(JobRequest(file.id, CHAT, **request))


async def output(node: Node, job: Job, kind: str = "output") -> list[bytes]:
    content = await node.service.output(job, kind)
    return b"".join([chunk async for chunk in content]).splitlines() if content else []


@pytest.fixture
async def two_workers(cluster: Cluster) -> Cluster:
    for name in ("a", "b"):
        await cluster.start_model(name, {"max_concurrency": 8}, latency=0.05)
    cluster.write_config()
    for _ in range(2):
        await cluster.start_worker()
    return cluster


@pytest.mark.parametrize("order", ["auto", "input"])
async def test_results_are_in_the_order_of_the_input_though_a_worker_is_killed(two_workers: Cluster, order: str) -> None:
    victim = next(process for process in two_workers.processes if "worker" in process.command)
    async with two_workers.node() as node:
        job = await submit(node, order=order)
        assert job.ordered == (order == "auto")
        await until(lambda: done(node, job, 150), what="the job to be under way")
        victim.kill()
        partial = [line_number(job.id, line) async for _, line in node.service.lines(job, 100)]
        assert partial == sorted(partial) and len(set(partial)) == len(partial) and partial[0] >= 100
        job = await ended(node, job, 90)
        found = await output(node, job)
        assert [orjson.loads(line)["custom_id"] for line in found] == [f"r{n}" for n in range(LINES)]
        assert [line_number(job.id, line) for line in found] == list(range(LINES))
        verdict = await verify_job(node.service, node.objects, job)
        assert verdict.holds, verdict.problem


async def done(node: Node, job: Job, lines: int) -> bool:
    return await done_lines(node, job) >= lines


async def test_a_cancelled_one_has_each_line_in_one_of_its_files(two_workers: Cluster) -> None:
    async with two_workers.node() as node:
        job = await submit(node)
        await until(lambda: done(node, job, 150), what="the job to be under way")
        unfinished = await node.service.results.first_unfinished(job)
        finished = [number async for number, _ in node.service.lines(job)]
        assert finished[:unfinished] == list(range(unfinished)), "all before it are finished"
        await node.service.cancel(job.id)
        job = await ended(node, job)
        numbers = [line_number(job.id, line) for kind in ("output", "error") for line in await output(node, job, kind)]
        assert sorted(numbers) == list(range(LINES))
        assert job.ledger.cancelled > 0 and job.ledger.balances
        verdict = await verify_job(node.service, node.objects, job)
        assert verdict.holds, verdict.problem


async def test_servers_find_most_prompts_begun_before(cluster: Cluster) -> None:
    """Each of two servers keeps five of the twenty documents."""
    for name in ("a", "b"):
        settings = {"max_concurrency": 4, "price": {"input": 1.0, "output": 1.0, "cached": 0.1}}
        await cluster.start_model(name, settings, latency=0.01, cache_blocks=30, prefill=0.002)
    cluster.write_config()
    await cluster.start_worker()
    async with cluster.node() as node:
        ordered, shuffled = [await ended(node, await submit(node, order=order)) for order in ("auto", "input")]
    assert cached_share(ordered) > 0.7 > 0.4 > cached_share(shuffled)
    assert ordered.saved == pytest.approx(ordered.tokens.cached * 0.9 / 1e6)


def cached_share(job: Job) -> float:
    return job.tokens.cached / job.tokens.prompt
