"""Stragglers at the end of a job are sent to a second endpoint; each line stands in the results once."""

import asyncio
from datetime import UTC, datetime, timedelta

from worker_bench import Worker, mock

from balancer.endpoint import Price
from balancer.usage.query import UsageQuery
from balancer.usage.report import UsageSum, usage_report
from tests.waiting import until
from workers.shards.run_context import Ending


async def test_stragglers_are_answered_by_an_idle_endpoint_and_taken_back_from_the_other(worker: Worker) -> None:
    worker.most_hedges = 1.0
    await worker.start(mock("a", max_concurrency=4), mock("b", max_concurrency=4), timeout=60.0, a={"fault": "hang"})
    job, shard = await worker.shard(4)
    async with asyncio.timeout(10):
        assert (await worker.run(job, shard).run()).ending is Ending.LAST
    lines = [line for _, line in (await worker.results(job)).values()]
    assert {line["custom_id"] for line in lines} == {"c0", "c1", "c2", "c3"}
    assert [line["hedge"] for line in lines] == [{"won": "b", "lost": "a"}] * 4
    job = await worker.bench.jobs.get(job.id)
    assert (job.ledger.completed, job.shares, job.hedged) == (4, {"b": 4}, 4)
    assert set(worker.servers["b"].simulation.tally.seen_keys.values()) == {1}
    await until(lambda: worker.servers["a"].simulation.in_flight.now == 0, 1.0)
    assert worker.nothing_is_held()
    assert (worker.context.hedging.budget.requests, worker.context.hedging.budget.hedges) == (4, 4)


async def test_a_hedge_that_is_late_itself_is_followed_by_one_more(worker: Worker) -> None:
    worker.most_hedges = 2.0
    endpoints = (mock("a", max_concurrency=4), mock("b", max_concurrency=4), mock("c", max_concurrency=4, priority=1))
    await worker.start(*endpoints, timeout=60.0, a={"fault": "hang"}, b={"fault": "hang"})
    job, shard = await worker.shard(4)
    async with asyncio.timeout(10):
        assert (await worker.run(job, shard).run()).ending is Ending.LAST
    assert [line["hedge"] for _, line in (await worker.results(job)).values()] == [{"won": "c", "lost": "a"}] * 4
    for name in "ab":
        await until(lambda name=name: worker.servers[name].simulation.in_flight.now == 0, 1.0)
    assert worker.nothing_is_held()
    assert (worker.context.hedging.budget.requests, worker.context.hedging.budget.hedges) == (4, 8)


async def test_an_answer_that_comes_first_after_all_ends_the_hedge(worker: Worker) -> None:
    worker.most_hedges = 1.0
    slow = {"latency": 1.6}
    await worker.start(mock("a", max_concurrency=4), mock("b", max_concurrency=4), timeout=60.0, a=slow, b={"fault": "hang"})
    job, shard = await worker.shard(4)
    async with asyncio.timeout(10):
        assert (await worker.run(job, shard).run()).ending is Ending.LAST
    job = await worker.bench.jobs.get(job.id)
    assert (job.ledger.completed, job.shares) == (4, {"a": 4})
    assert {"won": "a", "lost": "b"} in [line.get("hedge") for _, line in (await worker.results(job)).values()]
    assert worker.servers["b"].simulation.tally.requests > 0
    await until(lambda: worker.servers["b"].simulation.in_flight.now == 0, 1.0)
    assert worker.nothing_is_held()


async def test_a_hedge_that_fails_changes_nothing(worker: Worker) -> None:
    worker.most_hedges = 1.0
    slow = {"latency": 1.6}
    await worker.start(mock("a", max_concurrency=4), mock("b", max_concurrency=4), timeout=60.0, a=slow, b={"fault": "500"})
    job, shard = await worker.shard(4)
    async with asyncio.timeout(10):
        assert (await worker.run(job, shard).run()).ending is Ending.LAST
    job = await worker.bench.jobs.get(job.id)
    assert (job.ledger.completed, job.shares, job.retries, job.hedged) == (4, {"a": 4}, 0, 0)
    assert not [line for _, line in (await worker.results(job)).values() if "hedge" in line]
    assert worker.servers["b"].simulation.tally.requests <= 8, "at most two for a line"


async def test_usage_has_the_requests_and_the_cost_of_hedges_by_themselves(worker: Worker) -> None:
    worker.most_hedges = 1.0
    price = Price(1000.0, 10_000.0)
    endpoints = (mock("a", max_concurrency=4, price=price), mock("b", max_concurrency=4, price=price))
    await worker.start(*endpoints, timeout=60.0, a={"fault": "hang"})
    job, shard = await worker.shard(4)
    async with asyncio.timeout(10):
        assert (await worker.run(job, shard).run()).ending is Ending.LAST
    await until(lambda: worker.servers["a"].simulation.in_flight.now == 0, 1.0)
    job = await worker.bench.jobs.get(job.id)
    first, second = await usage_by_source(worker)
    assert (first.group, first.requests, first.errors) == ({"source": "jobs", "endpoint": "a"}, 4, 0)
    assert (second.group, second.requests, second.errors) == ({"source": "hedges", "endpoint": "b"}, 4, 0)
    assert (second.input_tokens, second.output_tokens, second.cost) == (job.tokens.prompt, job.tokens.completion, job.cost)
    # What was aborted has an input that is guessed, and no output.
    assert (first.guessed_requests, first.output_tokens, first.cost) == (4, 0, first.input_tokens / 1000) != (4, 0, 0.0)


async def usage_by_source(worker: Worker) -> list[UsageSum]:
    """Return what jobs used, and then what their hedges did."""
    assert worker.fleet.usage is not None
    await worker.fleet.usage.flush()
    today = datetime.now(UTC).date()
    query = UsageQuery(today - timedelta(days=1), today, ("source", "endpoint"))
    return (await usage_report(worker.bench.redis, query)).rows[::-1]


async def test_there_are_no_more_hedges_than_allowed(worker: Worker) -> None:
    worker.most_hedges = 0.5
    await worker.start(mock("a", max_concurrency=4), mock("b", max_concurrency=4), timeout=60.0, a={"latency": 2.5})
    job, shard = await worker.shard(4)
    assert (await worker.run(job, shard).run()).ending is Ending.LAST
    assert (await worker.bench.jobs.get(job.id)).shares == {"a": 2, "b": 2}
    assert worker.servers["b"].simulation.tally.requests == 2


async def test_there_are_none_under_a_cap_and_none_without_a_second_endpoint_that_is_idle(worker: Worker) -> None:
    worker.most_hedges = 1.0
    price = Price(1.0, 1.0)
    endpoints = (mock("a", max_concurrency=4, price=price), mock("b", max_concurrency=4, models={"other": "other"}, price=price))
    await worker.start(*endpoints, timeout=60.0, a={"latency": 1.8})
    job, shard = await worker.shard(4)
    assert (await worker.run(job, shard).run()).ending is Ending.LAST
    capped, shard = await worker.shard(4, max_cost=5.0)
    assert (await worker.run(capped, shard).run()).ending is Ending.LAST
    assert worker.servers["b"].simulation.tally.requests == 0
    assert worker.context.hedging.budget.hedges == 0
