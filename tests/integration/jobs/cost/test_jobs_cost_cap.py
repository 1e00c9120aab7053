"""A cap on a job's cost: it pauses once, nothing is lost, and a higher cap lets it go on. A line costs a quarter dollar here."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from balancer.endpoint import Endpoint, Price
from balancer.fleet.fleet import Fleet
from balancer.routing import BalancingStrategy
from balancer.routing.model_routes import ModelRoutes
from balancer.state.redis_connection import AsyncRedis
from balancer.state.shared_state import state_on
from jobs.cost.cap import require_prices
from jobs.dispatch.dispatcher import announce_serving
from jobs.dispatch.lease_table import Order
from jobs.dispatch.planning import Planned
from jobs.errors import InvalidRequest, NotFound
from jobs.intake.files import Upload
from jobs.records import FileRecord, Job, Shard
from jobs.records.states import JobStatus, PauseReason
from jobs.service import JobRequest, JobService
from jobs.storage import keys
from jobs.storage.job_store import JobStore, job_scripts
from jobs.storage.object_store import ObjectStore
from tests.job_bench import PATH, Bench, finished, in_chunks, input_line, new_job


async def paused_job(bench: Bench, lines: int = 100, max_cost: float = 2.5) -> tuple[Job, Shard]:
    """Open a job and let its first ten lines bring it to its cap; its shard of twenty is running."""
    job = await bench.open_job(lines, max_cost=max_cost)
    shard = await bench.claim(await bench.cut(job, 0, min(20, lines)))
    await bench.record(shard, range(round(max_cost * 4)))
    return await bench.jobs.get(job.id), shard


async def test_a_job_pauses_when_its_cap_is_reached(bench: Bench) -> None:
    job = await bench.open_job(100, max_cost=2.5)
    shard = await bench.claim(await bench.cut(job, 0, 20))
    assert await bench.table.record([(shard, [finished(n) for n in range(9)])]) == [Order.GO]
    assert (await bench.jobs.get(job.id)).paused is None
    assert await bench.table.record([(shard, [finished(9)])]) == [Order.STOP]
    found = await bench.jobs.get(job.id)
    assert (found.status, found.paused, found.max_cost) == (JobStatus.IN_PROGRESS, PauseReason.MAX_COST, 2.5)
    assert abs(found.times["paused_at"] - time.time()) < 5


async def test_what_is_in_flight_when_a_job_pauses_is_kept(bench: Bench) -> None:
    job, shard = await paused_job(bench)
    paused_at = job.times["paused_at"]
    await bench.redis.hset(keys.job(job.id), "paused_at", paused_at - 60)
    assert await bench.table.record([(shard, [finished(n) for n in (12, 17)])]) == [Order.STOP]
    found = await bench.jobs.get(job.id)
    assert (found.ledger.completed, found.cost, found.times["paused_at"]) == (12, 3.0, paused_at - 60)
    # It was paused once: its turn among the jobs is still the one from before.
    assert await bench.redis.hget(keys.job(job.id), "turn") == b"20"
    assert await bench.table.renew([shard]) == [Order.STOP]
    assert await bench.table.give_back(job.id, 0, shard.token)
    assert sorted(await bench.table.recorded(job.id, 0)) == [*range(10), 12, 17]


async def test_nothing_is_cut_off_or_claimed_of_a_paused_job(bench: Bench) -> None:
    job = await bench.open_job(100, max_cost=2.5)
    running = await bench.claim(await bench.cut(job, 0, 20))
    queued = await bench.cut(job, 20, 40)
    await bench.record(running, range(10))
    assert await bench.ready() == []
    # A plan that was made just before.
    assert await bench.reserve(Planned(job.id, 40, 60, "a")) is None
    assert (await bench.table.claim(job.id, 20, 40, queued.token, "late")).reason == "stopped"


async def test_recorders_of_many_processes_pause_a_job_once(bench: Bench, redis: AsyncRedis) -> None:
    job = await bench.open_job(400, max_cost=25.0)
    shards = [await bench.claim(await bench.cut(job, first, first + 40)) for first in range(0, 400, 40)]
    answers: list[tuple[int, Order]] = []

    async def record(shard: Shard) -> None:
        for number in range(shard.first, shard.first + 30):
            orders = await bench.table.record([(shard, [finished(number)])])
            answers.append((len(answers), orders[0]))
            if orders == [Order.STOP]:
                return

    await asyncio.gather(*(record(shard) for shard in shards))
    found = await bench.jobs.get(job.id)
    assert found.paused is PauseReason.MAX_COST
    # Each stops at its first line past the cap, so that at most one line each is too much.
    assert 100 <= found.ledger.completed <= 100 + len(shards)
    assert found.cost == found.ledger.completed / 4
    assert sum(order is Order.STOP for _, order in answers) == len(shards)


async def test_a_job_whose_last_lines_reach_the_cap_ends(bench: Bench) -> None:
    job = await bench.open_job(10, max_cost=2.5)
    shard = await bench.claim(await bench.cut(job, 0, 10))
    assert await bench.table.record([(shard, [finished(n) for n in range(10)])]) == [Order.GO]
    assert (await bench.jobs.get(job.id)).paused is None
    assert await bench.table.commit(shard) == (True, True)


async def test_a_paused_job_whose_lines_in_flight_were_its_last_can_be_closed(bench: Bench) -> None:
    job = await bench.open_job(12, max_cost=2.5)
    one, two = await bench.claim(await bench.cut(job, 0, 6)), await bench.claim(await bench.cut(job, 6, 12))
    await bench.record(one, range(6))
    await bench.record(two, range(6, 10))
    assert (await bench.jobs.get(job.id)).paused
    assert await bench.table.give_back(job.id, 0, one.token)
    assert await bench.table.record([(two, [finished(10), finished(11)])]) == [Order.GO]
    found = await bench.jobs.get(job.id)
    assert (found.paused, found.ledger.completed) == (None, 12)
    assert await bench.ready() == [job.id]
    again = await bench.claim(await bench.cut_again(job, 0, 6))
    assert await bench.table.commit(two) == (True, False)
    assert await bench.table.commit(again) == (True, True)


async def test_a_higher_cap_lets_a_job_go_on_where_it_was(bench: Bench) -> None:
    job, shard = await paused_job(bench)
    await bench.table.give_back(job.id, 0, shard.token)
    raised = await bench.jobs.limit_cost(job.id, 5.0)
    assert (raised.paused, raised.max_cost, raised.times.get("paused_at")) == (None, 5.0, None)
    again = await bench.claim(await bench.cut_again(job, 0, 20))
    assert len(await bench.table.finished(again)) == 10
    assert await bench.table.record([(again, [finished(n) for n in range(10, 19)])]) == [Order.GO]
    assert await bench.table.record([(again, [finished(19)])]) == [Order.STOP]


async def test_a_job_without_a_cap_any_more_goes_on_to_its_end(bench: Bench) -> None:
    job, shard = await paused_job(bench, lines=20)
    assert (await bench.jobs.limit_cost(job.id, None)).max_cost is None
    assert await bench.table.record([(shard, [finished(n) for n in range(20)])]) == [Order.GO]
    assert await bench.table.commit(shard) == (True, True)


@pytest.mark.parametrize("max_cost", [2.5, 2.0, 0.000001])
async def test_a_cap_that_is_spent_already_is_refused(bench: Bench, max_cost: float) -> None:
    job, _ = await paused_job(bench)
    with pytest.raises(InvalidRequest, match=r"has cost \$2.500000 already") as refused:
        await bench.jobs.limit_cost(job.id, max_cost)
    assert refused.value.code == "max_cost_spent"
    found = await bench.jobs.get(job.id)
    assert (found.paused, found.max_cost) == (PauseReason.MAX_COST, 2.5)


async def test_the_cap_of_a_job_that_has_ended_stays(bench: Bench) -> None:
    job = await bench.open_job(10, max_cost=1.0)
    await bench.jobs.stop(job.id, "cancelled")
    with pytest.raises(InvalidRequest, match="is cancelling"):
        await bench.jobs.limit_cost(job.id, 5.0)
    with pytest.raises(NotFound):
        await bench.jobs.limit_cost("batch_99999999", 5.0)


@pytest.mark.parametrize("ending", ["cancelled", "expired"])
async def test_a_paused_job_can_be_stopped(bench: Bench, ending: str) -> None:
    job = await bench.open_real_job(30)
    await bench.jobs.limit_cost(job.id, 2.5)
    shard = await bench.claim(await bench.cut(job, 0, 20))
    await bench.record(shard, range(10))
    assert (await bench.jobs.get(job.id)).paused
    stopped = await bench.jobs.stop(job.id, ending)
    assert (stopped.paused, stopped.ending) == (None, ending)
    assert await bench.table.record([(shard, [finished(10)])]) == [Order.STOP]
    await bench.table.give_back(job.id, 0, shard.token)
    assert await bench.assembly().end_if_done(job.id)
    found = await bench.jobs.get(job.id)
    assert (found.status, found.ledger.completed, found.ledger.balances) == (ending, 11, True)


async def test_a_job_that_goes_on_neither_loses_nor_gains_by_its_pause(bench: Bench) -> None:
    job, _ = await paused_job(bench, lines=10_000)
    ahead, behind = await bench.open_job(10_000), await bench.open_job(10_000)
    await bench.cut(ahead, 0, 500)
    await bench.cut(behind, 0, 300)
    await bench.jobs.limit_cost(job.id, 100.0)
    # Level with the one that has had least meanwhile, and so not before it for all the turns that it has missed.
    assert await bench.redis.zscore(keys.READY, job.id) == 300
    first = await bench.open_job(10_000, priority=5, max_cost=0.25)
    await bench.record(await bench.claim(await bench.cut(first, 0, 20)), [0])
    await bench.jobs.limit_cost(first.id, 1.0)
    assert (await bench.ready())[0] == first.id


# ---- with a fleet ----


class Queue:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.shards: list[Shard] = []

    async def publish(self, shards: Sequence[Shard]) -> None:
        self.shards += shards


class ServiceProcess:
    """A producer with a fleet, and a queue that is looked into."""

    def __init__(self, redis: AsyncRedis, folder: Path, endpoints: Sequence[Endpoint]) -> None:
        self.redis = redis
        self.queue = Queue()
        self.fleet = Fleet(endpoints, state_on(redis, "p1", endpoints))
        objects = ObjectStore.open(str(folder))
        weighted = BalancingStrategy.WEIGHTED
        self.service = JobService("p1", redis, objects, self.fleet, weighted, self.queue.publish)

    async def submit(self, max_cost: float | None, lines: int = 100) -> Job:
        content = b"".join(input_line(n) for n in range(lines))
        file = await self.service.files.add(Upload("in.jsonl"), in_chunks(content))
        return await self.service.submit(JobRequest(file.id, PATH, max_cost=max_cost))


PRICE = Price(input=1.0, output=1.0)
PRICED = Endpoint("http://a.invalid/v1", "a", price=PRICE, max_concurrency=4)
FREE = Endpoint("http://b.invalid/v1", "b", price=Price(0.0, 0.0))
OTHER_MODEL = Endpoint("http://c.invalid/v1", "c", provider="vllm", models={"other": "other"})
UNKNOWN = Endpoint("http://d.invalid/v1", "d", provider="vllm", models={"m": "llama"}, priority=1)


@pytest.fixture
async def open_process(bench: Bench, redis: AsyncRedis, store_folder: Path) -> AsyncIterator[Any]:
    opened: list[ServiceProcess] = []

    async def make(*endpoints: Endpoint) -> ServiceProcess:
        process = ServiceProcess(redis, store_folder, endpoints)
        await process.fleet.__aenter__()
        opened.append(process)
        await announce_serving(redis, "w1", [e.name for e in endpoints], 60.0)
        return process

    yield make
    for process in opened:
        await process.fleet.__aexit__()


@pytest.mark.parametrize("fleet", [(PRICED,), (PRICED, FREE), (PRICED, OTHER_MODEL)])
async def test_a_cap_needs_prices_only_of_what_may_answer(open_process: Any, fleet: tuple[Endpoint, ...]) -> None:
    process = await open_process(*fleet)
    assert (await process.submit(5.0)).max_cost == 5.0


async def test_a_cap_is_refused_where_a_price_is_unknown(open_process: Any) -> None:
    process = await open_process(PRICED, UNKNOWN)
    with pytest.raises(InvalidRequest, match=r"have none: d \(llama\)") as refused:
        await process.submit(5.0)
    assert (refused.value.param, refused.value.code) == ("max_cost", "price_unknown")
    job = await process.submit(None)
    with pytest.raises(InvalidRequest, match=r"d \(llama\)"):
        await process.service.limit_cost(job.id, 5.0)


@pytest.mark.parametrize("max_cost", [0.0, -1.0, float("nan"), float("inf"), 1e9])
async def test_what_is_no_amount_is_no_cap(open_process: Any, max_cost: float) -> None:
    process = await open_process(PRICED)
    with pytest.raises(InvalidRequest, match="max_cost must be an amount in USD"):
        await process.submit(max_cost)


async def test_dispatch_leaves_a_paused_job_alone_until_it_goes_on(open_process: Any) -> None:
    process = await open_process(PRICED)
    job = await process.submit(2.5)
    table = process.service.shards
    shards = list(process.queue.shards)
    claim = await table.claim(job.id, 0, shards[0].end, shards[0].token, "c")
    assert claim.shard
    await table.record([(claim.shard, [finished(0)])])
    rest = [s for s in shards if s.first]
    second = await table.claim(job.id, rest[0].first, rest[0].end, rest[0].token, "d")
    assert second.shard
    await table.record([(second.shard, [replace(finished(rest[0].first), cost=2.5)])])
    assert (await process.service.jobs.get(job.id)).paused
    held = len(process.queue.shards)
    for shard in (claim.shard, second.shard):
        await table.give_back(job.id, shard.first, shard.token)
    version = await process.redis.hget(keys.TURNS, "version")
    assert await process.service.dispatcher.run() == 0
    assert await process.redis.hget(keys.TURNS, "version") == version
    assert not await process.service.held_by_workers(await process.service.jobs.get(job.id))
    assert await table.open_of(job.id) == []
    await process.service.limit_cost(job.id, 100.0)
    assert len(process.queue.shards) > held
    assert process.queue.shards[held].first == 0


async def test_a_capped_job_of_bad_lines_is_refused_for_its_lines(open_process: Any) -> None:
    process = await open_process(UNKNOWN)
    record = FileRecord("file-00000001", "in.jsonl", "batch", 100, 0, lines=1, models={"absent": 1})
    await process.service.files.register(record)
    job = await process.service.submit(JobRequest(record.id, PATH, max_cost=1.0))
    assert (job.status, job.errors[0].code) == (JobStatus.FAILED, "model_not_found")


async def test_a_cap_is_kept_to_a_billionth_of_a_dollar(redis: AsyncRedis, bench: Bench) -> None:
    store = JobStore(redis, job_scripts(redis))
    record = FileRecord("file-00000000", "in.jsonl", "batch", 100, 0, lines=1)
    job = await store.open(new_job("batch_12345678", record, max_cost=0.000001234))
    assert job.max_cost == 0.000001234


OPENAI = Endpoint("https://api.openai.com/v1", "o")


@pytest.mark.parametrize(
    ("endpoint", "listed", "unknown"),
    [
        # sent under the first model that is configured, whose price is known, though the second one's is not
        (replace(OPENAI, models={"x": "gpt-4o-mini", "y": "mystery"}), [], None),
        (replace(OPENAI, models={"x": "mystery", "y": "gpt-4o-mini"}), [], r"o \(mystery\)"),
        # what it serves is not known
        (OPENAI, [], r"o \(no model named\)"),
        # it has said what it serves: any of that may answer
        (OPENAI, ["gpt-4o-mini", "*"], None),
        (OPENAI, ["gpt-4o-mini", "mystery"], r"have none: o \(mystery\);"),
        # a price of its own holds for every model
        (replace(OPENAI, price=PRICE), ["mystery"], None),
    ],
)
async def test_lines_that_name_no_model_need_the_price_of_what_answers_them(
    open_process: Any, endpoint: Endpoint, listed: list[str], unknown: str | None
) -> None:
    process = await open_process(endpoint)
    if listed:
        await state_on(process.redis, "p2", [endpoint]).share_models("o", listed)
        await process.fleet.refresh_models()
    if unknown is None:
        require_prices(process.fleet, [""])
        return
    with pytest.raises(InvalidRequest, match=unknown):
        require_prices(process.fleet, [""])


async def test_many_endpoints_without_a_price_are_counted(open_process: Any) -> None:
    many = [replace(UNKNOWN, name=f"u{number}", url=f"http://u{number}.invalid/v1") for number in range(7)]
    process = await open_process(*many)
    with pytest.raises(InvalidRequest, match=r"u4 \(llama\) and 2 more; give"):
        require_prices(process.fleet, ["m"])


async def test_every_model_of_a_chain_needs_a_price(open_process: Any) -> None:
    process = await open_process(replace(PRICED, models={"m": "m"}), OTHER_MODEL)
    process.fleet.catalog.routes = ModelRoutes(chains={"best": ("m", "other")})
    require_prices(process.fleet, ["m"])
    with pytest.raises(InvalidRequest, match=r"have none: c \(other\);"):
        require_prices(process.fleet, ["best"])
