"""The same request twice in a job is sent once."""

import signal
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import orjson
import pytest

from jobs.intake.files import Upload
from jobs.node import Node
from jobs.records import Job
from jobs.results.verify import verify_job
from jobs.service import JobRequest
from tests.acceptance.cluster import CHAT, Cluster, check_each_once, done_lines, ended
from tests.waiting import until

LINES, DISTINCT = 10_000, 1_000
SLOTS, LATENCY = 16, 0.1
SENT_AGAIN = SLOTS + int(0.25 * SLOTS / LATENCY)
"""After a kill: what was in flight, or finished in the last quarter of a second."""


def line(number: int, **fields: Any) -> bytes:
    question = f"question {number % DISTINCT}"
    body = {"model": "simulated", "messages": [{"role": "user", "content": question}], "user": question, **fields}
    return orjson.dumps({"custom_id": f"r{number}", "method": "POST", "url": CHAT, "body": body}) + b"\n"


async def submit(node: Node, lines: list[bytes], **request: Any) -> Job:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(lines), 500):
            yield b"".join(lines[start : start + 500])

    file = await node.service.files.add(Upload("in.jsonl"), chunks())
    assert not file.errors
    return await node.service.submit(JobRequest(file.id, CHAT, **request))


async def has_done(node: Node, job: Job, lines: int) -> bool:
    return await done_lines(node, job) >= lines


@pytest.mark.parametrize("order", ["auto", "input"])
@pytest.mark.parametrize("is_killed", [False, True], ids=["undisturbed", "killed"])
async def test_ten_thousand_lines_of_a_thousand_requests_are_a_thousand_requests(
    cluster: Cluster, order: str, is_killed: bool
) -> None:
    """Also if a worker is killed in the middle; each line has the answer to its own question, and the cost counts once."""
    price = {"input": 1000.0, "output": 1000.0}
    model = await cluster.start_model("m", {"price": price, "max_concurrency": SLOTS}, latency=LATENCY)
    cluster.write_config()
    victim = await cluster.start_worker()
    await cluster.start_worker()
    async with cluster.node() as node:
        job = await submit(node, [line(number, temperature=0) for number in range(LINES)], order=order)
        assert (job.ledger.total, job.repeats, job.places) == (LINES, LINES - DISTINCT, DISTINCT)
        await until(partial(has_done, node, job, LINES // 5))
        if is_killed:
            victim.kill(signal.SIGKILL)
        now = await node.service.jobs.get(job.id)
        so_far = [number async for number, _ in node.service.lines(now)]
        assert so_far == sorted(set(so_far)) and len(so_far) >= now.ledger.done
        job = await ended(node, job)
        results, errors = await check_each_once(node, job, [f"r{number}" for number in range(LINES)])
        assert errors == [] and (await verify_job(node.service, node.objects, job)).holds
    duplicates = model.stats["requests"] - DISTINCT
    assert 0 <= duplicates <= (SENT_AGAIN if is_killed else 0), (
        "but for the lines in flight at the kill, and those that were not recorded yet"
    )
    for number, result in enumerate(results):
        first = number % DISTINCT
        assert result["response"]["body"] == results[first]["response"]["body"]
        assert result.get("repeats_line") == (None if number == first else first + 1)
    costs = sum(result["cost"] for result in results)
    assert costs == pytest.approx(job.cost) and job.cost > 0
    assert sum(result["attempts"] for result in results) >= DISTINCT


async def test_only_what_has_the_same_answer_is_sent_once_unless_it_is_asked_for(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 16})
    cluster.write_config()
    await cluster.start_worker()
    _, api = await cluster.start_api()

    async def sent(dedupe: bool | None, **fields: Any) -> int:
        before = model.stats["requests"]
        requests = [orjson.loads(line(number % 3, **fields)) for number in range(12)]
        requests = [{**each["body"], "custom_id": f"r{number}"} for number, each in enumerate(requests)]
        body: dict[str, Any] = {"requests": requests, **({} if dedupe is None else {"dedupe": dedupe})}
        answer = httpx.post(f"{api}/api/v1/jobs", json=body)
        assert answer.status_code == 201, answer.text
        async with cluster.node() as node:
            job = await ended(node, await node.service.jobs.get(answer.json()["id"]))
            await check_each_once(node, job, [f"r{number}" for number in range(12)])
        assert httpx.get(f"{api}/api/v1/jobs/{job.id}").json()["repeats"] == 12 - (model.stats["requests"] - before)
        return int(model.stats["requests"]) - before

    assert await sent(None) == 12
    assert await sent(None, temperature=0.7) == 12
    assert await sent(None, temperature=0) == 3
    assert await sent(None, temperature=0.7, seed=1) == 3
    assert await sent(True, temperature=0.7) == 3
    assert await sent(False, temperature=0) == 12


async def test_a_cancelled_job_accounts_for_the_repeats_of_lines_that_were_not_sent(cluster: Cluster) -> None:
    await cluster.start_model("m", {"max_concurrency": 2}, latency=0.2)
    cluster.write_config()
    await cluster.start_worker()
    async with cluster.node() as node:
        job = await submit(node, [line(number, temperature=0) for number in range(2 * DISTINCT)])
        await until(partial(has_done, node, job, 8))
        await node.service.cancel(job.id)
        job = await ended(node, job)
        results, errors = await check_each_once(node, job, [f"r{number}" for number in range(2 * DISTINCT)])
        assert job.ledger.balances and len(results) == job.ledger.completed and len(errors) == job.ledger.cancelled
        assert len(results) % 2 == 0 and 8 <= len(results) < 2 * DISTINCT
        for error in errors:
            assert error["line"] == int(error["custom_id"].removeprefix("r")) + 1
