"""Lines in flex processing: asked for, waited for, and left near the end of the job's window."""

import time
from dataclasses import replace
from typing import Any

import orjson
from worker_bench import Worker

from balancer.endpoint import Price
from balancer.outcome import FailureKind
from jobs.records import Job
from tests.fake_providers import FAKE_PROVIDERS, ProviderServer, ReceivedRequest, Reply, Script
from workers.shards.run_context import Ending

OPENAI = FAKE_PROVIDERS["openai"]


def tiers(server: ProviderServer) -> list[str | None]:
    return [orjson.loads(body).get("service_tier") for body in server.bodies]


def in_class(job: Job, price_class: str, window: float = 86_400.0, left: float = 86_400.0) -> Job:
    now = int(time.time())
    return replace(job, price_class=price_class, expires_at=now + int(left), times={"in_progress_at": now + int(left - window)})


async def run(worker: Worker, server: ProviderServer, price_class: str, endpoint_class: str = "standard", **times: Any) -> Job:
    endpoint = server.endpoint(name="a", price=Price(1_000.0, 0.0), price_class=endpoint_class)
    await worker.start(endpoint)
    job, shard = await worker.shard(4)
    assert (await worker.run(in_class(job, price_class, **times), shard).run()).ending is Ending.LAST
    return await worker.bench.jobs.get(job.id)


async def test_a_job_in_flex_asks_for_it_where_the_endpoint_has_it(worker: Worker) -> None:
    with ProviderServer(OPENAI) as server:
        await run(worker, server, "flex")
        assert tiers(server) == [None] * 4, "this endpoint is not OpenAI, nor configured for flex"


async def test_an_endpoint_in_flex_costs_what_its_price_says(worker: Worker) -> None:
    with ProviderServer(OPENAI) as server:
        job = await run(worker, server, "", "flex")
        assert tiers(server) == ["flex"] * 4
        assert job.cost == 4 * 12 * 1e-3


async def test_a_job_in_standard_processing_says_so_to_an_endpoint_in_flex(worker: Worker) -> None:
    with ProviderServer(OPENAI) as server:
        await run(worker, server, "standard", "flex")
        assert tiers(server) == ["default"] * 4


async def test_near_the_end_of_the_window_lines_are_processed_as_usual(worker: Worker) -> None:
    with ProviderServer(OPENAI) as server:
        await run(worker, server, "flex", "flex", window=86_400.0, left=1_700.0)
        assert tiers(server) == ["default"] * 4, "half an hour before the end"


async def test_of_a_short_window_a_third_is_kept(worker: Worker) -> None:
    with ProviderServer(OPENAI) as server:
        await run(worker, server, "flex", "flex", window=900.0, left=310.0)
        assert tiers(server) == ["flex"] * 4


async def test_a_lack_of_flex_capacity_is_waited_out_without_an_attempt(worker: Worker) -> None:
    lack = {"error": {"message": "no capacity", "type": "rate_limit_error", "code": "resource_unavailable"}}

    def answer(received: ReceivedRequest) -> Script | Reply:
        return Reply(429, orjson.dumps(lack)) if len(server.bodies) <= 4 else Script()

    with ProviderServer(OPENAI, answer) as server:
        await worker.start(server.endpoint(name="a", price_class="flex"))
        job, shard = await worker.shard(4)
        ended = await worker.run(in_class(job, "flex"), shard).run()
        assert ended.ending is Ending.RETRY
        histories = await worker.bench.table.histories(shard)
        assert all(history.passes == 0 for history in histories.values()), "it is no fault of the lines"
        last = next(iter(histories.values())).failed[-1]
        assert last.code == FailureKind.RATE_LIMIT
