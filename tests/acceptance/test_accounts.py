"""The accounts of usage beside what the provider counted, when the API and a worker are killed."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import orjson
import pytest

from balancer.outcome import Usage
from balancer.usage.query import UsageQuery
from balancer.usage.report import usage_report
from jobs.cost.recorded import reconciled
from jobs.intake.files import Upload
from jobs.service import JobRequest
from tests.acceptance.cluster import HTTP, Cluster, check_each_once, ended, submit
from tests.fake_providers import FAKE_PROVIDERS, ProviderServer, ReceivedRequest, Script
from tests.fake_providers.base import KEY
from tests.waiting import until

USAGE = Usage(prompt=100, completion=50)
PRICE = {"input": 10.0, "output": 40.0}
COST = (USAGE.prompt * PRICE["input"] + USAGE.completion * PRICE["output"]) / 1e6
SLOTS = 16
LATENCY = 0.6
"""Seconds, more than the half second after which usage is reported: what a killed process has not reported was in flight."""


async def test_the_accounts_survive_kills_of_the_api_and_of_a_worker(cluster: Cluster) -> None:
    answered = 0

    def answer(received: ReceivedRequest) -> Script:
        nonlocal answered
        time.sleep(LATENCY)  # this is how long the answer takes
        answered += 1
        return Script(usage=USAGE)

    with ProviderServer(FAKE_PROVIDERS["openai"], answer) as provider:
        cluster.start_redis()
        entry = {"name": "a", "url": provider.endpoint().url, "models": ["m"], "api_key": KEY, "price": PRICE}
        cluster.settings["endpoints"].append({**entry, "max_concurrency": SLOTS})
        cluster.write_config()
        worker = await cluster.start_worker()
        api, url = await cluster.start_api()
        ids = [f"line-{number}" for number in range(200)]
        async with cluster.node() as node:
            job = await submit(node, ids, "m")
            chats = asyncio.create_task(_chat_until_killed(url))
            await until(lambda: answered > 40, what="answers")
            worker.kill()
            await cluster.start_worker()
            await until(lambda: answered > 100, what="answers of the next worker")
            api.kill()
            await chats
            job = await ended(node, job, 60)
            _, errors = await check_each_once(node, job, ids)
            assert not errors
            in_flight = 2 * SLOTS  # at the two kills

            async def reported() -> Any:
                today = datetime.now(UTC).date()
                total = (await usage_report(node.redis, UsageQuery(today, today, ()))).total
                return total if abs(total.requests - answered) <= in_flight else None

            total = await until(reported, what="the account to have what the provider counted")
            print(
                f"the provider answered {answered} requests; the account has {total.requests}, {total.guessed_requests} guessed"
            )
            assert round(job.cost, 9) == round(len(ids) * COST, 9), "each line is counted once"
            today = datetime.now(UTC).date()
            (day,) = await reconciled(node.redis, today, today)
            assert round(day.results.cost, 9) == round(job.cost, 9)
            assert round(abs(day.requests.cost - day.results.cost), 9) <= in_flight * COST
            assert round(abs(day.everything - answered * COST), 9) <= in_flight * COST


REQUESTS = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Say a number, and then another one."}]},
    "/v1/completions": {"prompt": "A number and"},
    "/v1/embeddings": {"input": ["a few words", "and some more"]},
    "/v1/responses": {"input": "What is a number?"},
}


@pytest.mark.parametrize("path", sorted(REQUESTS))
async def test_a_job_of_any_kind_costs_what_its_answers_say(cluster: Cluster, path: str) -> None:
    cluster.start_redis()
    await cluster.start_model("a", endpoint={"price": {"input": 1_234.5, "output": 4_321.25}})
    cluster.write_config()
    await cluster.start_worker()
    lines = [{"custom_id": str(n), "method": "POST", "url": path, "body": {"model": "m", **REQUESTS[path]}} for n in range(50)]

    async def content() -> AsyncIterator[bytes]:
        yield b"".join(orjson.dumps(line) + b"\n" for line in lines)

    async with cluster.node() as node:
        file = await node.service.files.add(Upload("in.jsonl"), content())
        job = await ended(node, await node.service.submit(JobRequest(file.id, path, dedupe=False)), 60)
        output, errors = await check_each_once(node, job, [str(n) for n in range(50)])
        assert not errors
        cost = Decimal(0)
        for row in output:
            usage = row["response"]["body"]["usage"]
            into = usage.get("prompt_tokens", usage.get("input_tokens", 0))
            out = usage.get("completion_tokens", usage.get("output_tokens", 0))
            cost += (into * Decimal("1234.5") + out * Decimal("4321.25")) / 1_000_000
        assert cost > Decimal("0.1")
        assert abs(Decimal(str(job.cost)) - cost) < Decimal("0.005"), "to the cent"
        today = datetime.now(UTC).date()

        async def agree() -> bool:
            return not any(day.differs for day in await reconciled(node.redis, today, today))

        await until(agree, what="the account to agree with the results")


async def _chat_until_killed(url: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    try:
        while (await asyncio.to_thread(HTTP.post, f"{url}/v1/chat/completions", json=body)).status_code == 200:
            pass
    except httpx.HTTPError:
        return  # it was killed
