"""Shards whose lines are handed in as a provider's batches, at servers that speak the five batch APIs."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from worker_bench import Worker

from balancer.endpoint import Price
from balancer.fleet.batches import EndpointBatches
from balancer.outcome import Failure, FailureKind
from balancer.providers.batches import BatchCallFailed, BatchResult, BatchState
from balancer.state.redis_connection import AsyncRedis
from balancer.usage.tally import Tally
from jobs.records import Job, Shard, as_batch
from jobs.records.states import JobStatus
from jobs.storage import keys
from tests.fake_providers import FAKE_PROVIDERS, ReceivedRequest, Reply, Script, Text
from tests.fake_providers.batch_dialects import DIALECTS
from tests.fake_providers.batch_server import BatchServer
from workers.batches import batch_run as batch_run_module
from workers.batches.batch_run import BatchRun
from workers.batches.journal import BatchStep, read_journal
from workers.shards.run_context import Ending, ShardEnd

LINES = 6
PRICE = Price(1_000.0, 0.0)
"""USD per million tokens: 0.001 a token."""


@pytest.fixture(params=sorted(DIALECTS))
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(provider: str) -> Iterator[BatchServer]:
    with BatchServer(FAKE_PROVIDERS[provider], seconds=0.0) as made:
        yield made


@pytest.fixture
def openai() -> Iterator[BatchServer]:
    with BatchServer(FAKE_PROVIDERS["openai"], seconds=0.0) as made:
        yield made


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may have been created and is not found has not been, at once."""
    monkeypatch.setattr(batch_run_module, "SETTLED_AFTER", 0.0)


async def start(worker: Worker, server: BatchServer, lines: int = LINES, **settings: Any) -> tuple[Job, Shard]:
    await worker.start(server.endpoint(name="a", batch=True, price=PRICE, models={"m": "m", "n": "n"}, **settings))
    return await worker.shard(lines, as_batch("a"))


def batch_run(worker: Worker, job: Job, shard: Shard, price_class: str = "batch") -> BatchRun:
    return BatchRun(shard, replace(job, price_class=price_class), 0, worker.context)


async def look(worker: Worker, job: Job, end: ShardEnd, price_class: str = "batch") -> ShardEnd:
    """Claim a shard that waits, and run it."""
    assert end.ending is Ending.RETRY
    assert end.waiting is not None
    job = await worker.bench.jobs.get(job.id)
    return await batch_run(worker, job, await worker.bench.claim(end.waiting), price_class).run()


async def journal(worker: Worker, shard: Shard) -> list[BatchStep]:
    kept = await worker.bench.table.batches(shard)
    return [batch.step for batch in read_journal(kept)] if kept else []


async def test_lines_are_answered_at_half_the_price(worker: Worker, server: BatchServer) -> None:
    job, shard = await start(worker, server)
    assert (await batch_run(worker, job, shard).run()).ending is Ending.LAST
    assert server.submissions() == Counter(map(str, range(LINES))), server.refused
    assert not server.refused
    results = await worker.results(job)
    assert [failed for failed, _ in results.values()] == [False] * LINES
    assert all(line["response"]["body"]["choices"] for _, line in results.values())  # type: ignore[index]
    counted = await worker.bench.jobs.get(job.id)
    prompt = counted.tokens.prompt // LINES
    assert counted.cost == pytest.approx(LINES * prompt * 1e-3 / 2)
    assert server.deleted


async def test_every_model_has_a_batch_of_its_own(worker: Worker, server: BatchServer) -> None:
    await worker.start(server.endpoint(name="a", batch=True, models={"m": "m", "n": "n"}))
    job, shard = await worker.shard(LINES, as_batch("a"), models=("m", "n"))
    assert (await batch_run(worker, job, shard).run()).ending is Ending.LAST
    assert len(server.batches) == 2
    assert server.submissions() == Counter(map(str, range(LINES)))


async def test_a_batch_is_waited_for_in_the_queue(worker: Worker, server: BatchServer, redis: AsyncRedis) -> None:
    server.seconds = 3600.0
    job, shard = await start(worker, server)
    end = await batch_run(worker, job, shard).run()
    assert end.ending is Ending.RETRY
    assert end.countdown >= 1.0
    assert await journal(worker, shard) == [BatchStep.CREATED]
    waiting = (await worker.bench.jobs.get(job.id)).waiting
    assert waiting is not None
    assert f"of {LINES} lines of a batch" in waiting.reason
    end = await look(worker, job, end)
    server.finish()
    assert (await look(worker, job, end)).ending is Ending.LAST
    assert server.submissions() == Counter(map(str, range(LINES)))
    assert await redis.exists(keys.shard(job.id, 0)) == 0


async def test_a_batch_whose_creation_was_not_answered_is_found(worker: Worker, server: BatchServer) -> None:
    server.loses = 1
    job, shard = await start(worker, server)
    end = await batch_run(worker, job, shard).run()
    assert await journal(worker, shard) == [BatchStep.CREATING]
    assert (await look(worker, job, end)).ending is Ending.LAST
    assert server.submissions() == Counter(map(str, range(LINES)))


async def test_it_is_found_among_others(worker: Worker, server: BatchServer) -> None:
    server.loses, server.seconds = 1, 3600.0
    job, shard = await start(worker, server)
    end = await batch_run(worker, job, shard).run()
    for _ in range(5):
        other, others_shard = await worker.shard(LINES, as_batch("a"))
        assert (await batch_run(worker, other, others_shard).run()).ending is Ending.RETRY
    end = await look(worker, job, end)
    assert await journal(worker, shard) == [BatchStep.CREATED]
    server.finish()
    assert (await look(worker, job, end)).ending is Ending.LAST
    assert server.submissions() == Counter({str(number): 6 for number in range(LINES)})


async def test_of_two_that_were_not_answered_each_is_found(worker: Worker, server: BatchServer) -> None:
    server.loses, server.seconds = 2, 3600.0
    first = await start(worker, server)
    second = await worker.shard(LINES, as_batch("a"))
    ends = [await batch_run(worker, *each).run() for each in (first, second)]
    ends = [await look(worker, job, end) for (job, _), end in zip((first, second), ends, strict=True)]
    server.finish()
    for (job, _), end in zip((first, second), ends, strict=True):
        while end.ending is Ending.RETRY:
            end = await look(worker, job, end)
        assert end.ending is Ending.LAST
        assert all(not failed for failed, _ in (await worker.results(job)).values())
    assert server.submissions() == Counter({str(number): 2 for number in range(LINES)})


@pytest.mark.usefixtures("settled")
async def test_a_batch_that_was_not_created_is_created_again(worker: Worker, server: BatchServer) -> None:
    job, shard = await start(worker, server)
    run = batch_run(worker, job, shard)
    create = worker.fleet.batches
    assert create("a") is not None

    async def dies(*args: object, **kwargs: object) -> str:
        run.interrupt()
        raise RuntimeError("never reached")

    batches = worker.fleet.batches("a")
    assert batches is not None
    batches.create = dies  # type: ignore[method-assign]
    worker.fleet.batches = lambda name: batches  # type: ignore[method-assign,assignment]
    with pytest.raises(RuntimeError):
        await run.run()
    assert await journal(worker, shard) == [BatchStep.CREATING]
    worker.fleet.batches = create  # type: ignore[method-assign]
    again = await worker.bench.table.requeue(job.id, 0)
    assert (await look(worker, job, ShardEnd(Ending.RETRY, again))).ending is Ending.LAST
    assert server.submissions() == Counter(map(str, range(LINES)))


async def test_lines_that_a_batch_did_not_process_go_back(worker: Worker, server: BatchServer) -> None:
    server.seconds, server.expires_after = 1e-6, 0.5e-6
    job, shard = await start(worker, server)
    end = await batch_run(worker, job, shard).run()
    assert end.ending is Ending.RETURNED
    assert 0 < len(await worker.bench.table.recorded(job.id, 0)) < LINES
    assert not await worker.bench.table.histories(shard), "no attempt is counted"


async def test_lines_that_failed_wait_for_another_batch(worker: Worker, server: BatchServer) -> None:
    busy: set[str] = set()

    def answer(received: ReceivedRequest) -> Script | Reply:
        text = next(part.text for part in received.turns[-1].parts if isinstance(part, Text))
        if text.endswith("1") and text not in busy:
            busy.add(text)
            reply = server.fake.fail(FailureKind.OVERLOADED)
            assert reply is not None
            return reply
        return Script()

    server.answer = answer
    job, shard = await start(worker, server)
    end = await batch_run(worker, job, shard).run()
    assert len(busy) == 1
    assert (await look(worker, job, end)).ending is Ending.LAST
    assert server.submissions() == Counter({str(n): 2 if n == 1 else 1 for n in range(LINES)})
    assert not any(failed for failed, _ in (await worker.results(job)).values())


async def test_what_can_not_be_answered_is_an_error_line(worker: Worker, server: BatchServer) -> None:
    reply = server.fake.fail(FailureKind.BAD_REQUEST)
    assert reply is not None
    server.answer = reply
    job, shard = await start(worker, server)
    assert (await batch_run(worker, job, shard).run()).ending is Ending.LAST
    assert all(failed for failed, _ in (await worker.results(job)).values())
    assert (await worker.bench.jobs.get(job.id)).cost == 0.0


async def test_lines_without_a_result_are_tried_again(worker: Worker, server: BatchServer) -> None:
    server.skips = lambda custom_id: len(server.batches) == 1 and custom_id.endswith(("-2", "-3"))
    job, shard = await start(worker, server)
    end = await batch_run(worker, job, shard).run()
    assert (await look(worker, job, end)).ending is Ending.LAST
    assert server.submissions() == Counter({str(n): 2 if n in (2, 3) else 1 for n in range(LINES)})


async def test_a_job_that_is_cancelled_keeps_what_its_batch_has_done(worker: Worker, server: BatchServer) -> None:
    server.seconds = 3600.0
    job, shard = await start(worker, server)
    end = await batch_run(worker, job, shard).run()
    for batch in server.batches.values():
        batch.created_at -= 1800
    await worker.bench.jobs.stop(job.id, "cancelled")
    while end.ending is Ending.RETRY:
        end = await look(worker, job, end)
    assert end.ending is Ending.RETURNED
    assert all(batch.cancelled_at for batch in server.batches.values())
    assert len(await worker.bench.table.recorded(job.id, 0)) == LINES // 2


async def test_a_stopped_job_has_not_ended_while_its_batch_is_out(worker: Worker, openai: BatchServer) -> None:
    openai.seconds = openai.cancelling = 3600.0
    job, shard = await start(worker, openai)
    end = await batch_run(worker, job, shard).run()
    await worker.bench.jobs.stop(job.id, "cancelled")
    assert not await worker.bench.assembly().end_if_done(job.id)
    end = await look(worker, job, end)
    openai.finish()
    assert (await look(worker, job, end)).ending is Ending.RETURNED
    assert await worker.bench.assembly().end_if_done(job.id)
    assert (await worker.bench.jobs.get(job.id)).status is JobStatus.CANCELLED


async def test_a_shard_with_a_batch_is_not_cut_again(worker: Worker, openai: BatchServer) -> None:
    openai.seconds = 3600.0
    job, shard = await start(worker, openai)
    end = await batch_run(worker, job, shard).run()
    table = worker.bench.table
    for only_if in ("", "queued", "expired"):
        assert not await table.give_back(job.id, 0, only_if=only_if)
    assert await table.requeue(job.id, 0, only_if="gone", gone="a worker that does not have it") is None
    assert await table.requeue(job.id, 0, only_if="expired") is None, "its lease is not over"
    again = await table.requeue(job.id, 0)
    assert again is not None
    assert again.endpoint == as_batch("a")
    assert end.waiting is not None
    assert (await table.claim(job.id, 0, LINES, end.waiting.token, "late")).reason == "stale"


async def test_without_room_in_the_providers_queue_a_batch_is_created_later(worker: Worker, openai: BatchServer) -> None:
    openai.queued = 0
    job, shard = await start(worker, openai)
    end = await batch_run(worker, job, shard).run()
    assert await journal(worker, shard) == [BatchStep.NEW]
    assert not openai.submissions()
    openai.queued = None
    assert (await look(worker, job, end)).ending is Ending.LAST
    assert openai.submissions() == Counter(map(str, range(LINES)))


async def test_a_batch_that_is_refused_fails_its_lines(worker: Worker, server: BatchServer, provider: str) -> None:
    if provider == "anthropic":
        pytest.skip("message batches are not refused once they are created")
    server.refuse = lambda batch: ("model_not_supported", "no batches for this model")
    job, shard = await start(worker, server)
    assert (await batch_run(worker, job, shard).run()).ending is Ending.LAST
    assert all("no batches for this model" in str(line) for _, line in (await worker.results(job)).values())


async def test_with_cheapest_the_job_goes_on_without_batches(worker: Worker, openai: BatchServer) -> None:
    openai.refuse = lambda batch: ("model_not_supported", "no batches for this model")
    job, shard = await start(worker, openai)
    assert (await batch_run(worker, job, shard, "cheapest").run()).ending is Ending.RETURNED
    assert "no batches for this model" in (await worker.bench.jobs.get(job.id)).no_batches


async def test_near_the_end_of_its_window_a_cheapest_job_leaves_its_batch(worker: Worker, server: BatchServer) -> None:
    server.seconds = 3600.0
    job, shard = await start(worker, server)
    end = await batch_run(worker, job, shard, "cheapest").run()
    for batch in server.batches.values():
        batch.created_at -= 1800
    now = int(time.time())
    await worker.bench.redis.hset(keys.job(job.id), mapping={"expires_at": now + 100, "in_progress_at": now - 3500})
    while end.ending is Ending.RETRY:
        end = await look(worker, job, end, "cheapest")
    assert end.ending is Ending.RETURNED
    assert len(await worker.bench.table.recorded(job.id, 0)) == LINES // 2


async def test_a_provider_that_does_not_answer_is_asked_again(worker: Worker, openai: BatchServer) -> None:
    job, shard = await start(worker, openai)
    await worker.fleet.__aexit__(None, None, None)
    await worker.start(replace(openai.endpoint(name="a", batch=True, models={"m": "m"}), url="http://127.0.0.1:9/v1"))
    end = await batch_run(worker, job, shard).run()
    assert await journal(worker, shard) == [BatchStep.NEW]
    await worker.start(openai.endpoint(name="a", batch=True, models={"m": "m"}))
    assert (await look(worker, job, end)).ending is Ending.LAST


async def test_a_batch_that_the_provider_has_lost_fails_its_lines(worker: Worker, openai: BatchServer) -> None:
    openai.seconds = 3600.0
    job, shard = await start(worker, openai)
    end = await batch_run(worker, job, shard).run()
    openai.batches.clear()
    end = await look(worker, job, end)
    assert end.ending is Ending.RETRY
    assert not await journal(worker, shard)
    histories = await worker.bench.table.histories(shard)
    assert len(histories) == LINES


async def test_a_job_ends_whose_batch_may_exist_at_a_provider_that_stays_unreachable(
    worker: Worker, openai: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_run_module, "UNREACHABLE_AFTER", -3600.0)
    openai.loses = 1
    job, shard = await start(worker, openai)
    end = await batch_run(worker, job, shard).run()
    assert await journal(worker, shard) == [BatchStep.CREATING]
    await worker.fleet.__aexit__(None, None, None)
    await worker.start(replace(openai.endpoint(name="a", batch=True, models={"m": "m"}), url="http://127.0.0.1:9/v1"))
    await worker.bench.jobs.stop(job.id, "cancelled")
    end = await look(worker, job, end)
    assert end.ending is not Ending.RETRY
    assert not await journal(worker, shard)


async def usage_rows(worker: Worker) -> list[Tally]:
    assert worker.fleet.usage is not None
    await worker.fleet.usage.flush()
    days = [key async for key in worker.bench.redis.scan_iter("rb:usage:20*")]
    return [Tally.unpacked(value) for day in days for value in (await worker.bench.redis.hgetall(day)).values()]


async def test_usage_is_counted_at_the_price_of_batches(worker: Worker, openai: BatchServer) -> None:
    job, shard = await start(worker, openai)
    await batch_run(worker, job, shard).run()
    rows = await usage_rows(worker)
    assert sum(row.requests for row in rows) == LINES
    assert sum(row.nano_cost for row in rows) == round((await worker.bench.jobs.get(job.id)).cost * 1e9) > 0


async def test_a_download_that_breaks_off_goes_on_where_it_was(
    worker: Worker, openai: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = EndpointBatches.results

    async def cut_off(batches: EndpointBatches, state: BatchState) -> AsyncIterator[BatchResult]:
        taken = 0
        async for result in whole(batches, state):
            if taken == LINES // 2:
                raise BatchCallFailed(Failure(FailureKind.CONNECTION, "cut off"), answered=False)
            taken += 1
            yield result

    monkeypatch.setattr(EndpointBatches, "results", cut_off)
    job, shard = await start(worker, openai)
    end = await batch_run(worker, job, shard).run()
    assert await journal(worker, shard) == [BatchStep.CREATED]
    assert len(await worker.bench.table.recorded(job.id, 0)) == LINES // 2
    monkeypatch.setattr(EndpointBatches, "results", whole)
    assert (await look(worker, job, end)).ending is Ending.LAST
    assert openai.submissions() == Counter(map(str, range(LINES)))
    assert sum(row.requests for row in await usage_rows(worker)) == LINES
