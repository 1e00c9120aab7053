"""Rounds of a job in which lines are sent again."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from worker_bench import Worker, mock, with_model

from balancer.endpoint import Price
from jobs.errors import InvalidRequest
from jobs.intake.files import Upload
from jobs.records import Job
from jobs.records.states import JobStatus
from jobs.rounds.first import begin_first_round
from jobs.rounds.retry import Retry, RetrySelection
from jobs.storage import object_store
from tests.job_bench import input_line, new_job
from workers.shards.run_context import Ending

LINES = 40
BOM = b"\xef\xbb\xbf"
FAILED = frozenset(range(0, LINES, 5))
ALL_FAILED = RetrySelection()


async def ended_job(worker: Worker, content: bytes | None = None) -> Job:
    """Return a job of which each fifth line asks for a model that no endpoint has."""
    await worker.start(mock("a", price=Price(1.0, 2.0)), a={"models": ("good",)})
    lines = [with_model(input_line(n), "bad" if n in FAILED else "good") for n in range(LINES)]

    async def chunks() -> AsyncIterator[bytes]:
        yield content if content is not None else b"".join(lines)

    record = await worker.bench.files.add(Upload("in.jsonl"), chunks())
    job = await worker.bench.jobs.open(new_job(worker.bench.job_id(), record))
    return await worked(worker, job)


async def worked(worker: Worker, job: Job) -> Job:
    """Work all lines of a job's round off and end it."""
    shard = await worker.bench.claim(await worker.bench.cut(job, 0, job.places))
    assert (await worker.run(job, shard).run()).ending is Ending.LAST
    assert await worker.bench.assembly().end_if_done(job.id)
    return await worker.bench.jobs.get(job.id)


def retry(worker: Worker) -> Retry:
    return Retry(worker.bench.jobs, worker.bench.files, worker.bench.objects)


async def begun(worker: Worker, job: Job, selection: RetrySelection = ALL_FAILED) -> Job:
    assert await retry(worker).begin(job, selection, 60.0)
    return await worker.bench.jobs.get(job.id)


def numbers(lines: list[dict[str, Any]]) -> list[str]:
    return [line["custom_id"] for line in lines]


async def test_only_the_failed_lines_are_sent_again_and_all_stand_in_their_order(worker: Worker) -> None:
    job = await ended_job(worker)
    assert (job.ledger.completed, job.ledger.failed) == (LINES - len(FAILED), len(FAILED))
    cost, output = job.cost, await worker.bench.file_lines(job.output_file_id)
    errors = await worker.bench.file_lines(job.error_file_id)
    await worker.bench.redis.ping()
    worker.servers["a"].simulation.change(worker.servers["a"].simulation.behaviour.changed({"models": ("*",)}))
    sent = worker.servers["a"].simulation.tally.requests
    job = await begun(worker, job)
    assert (job.status, job.ledger.total, job.ledger.done, job.places) == (JobStatus.IN_PROGRESS, LINES, 32, len(FAILED))
    assert job.output_file_id is None and job.expires_at > 0
    assert await worker.bench.results.first_unfinished(job) == 0
    assert [result.number async for result in worker.bench.results.finished(job)] == [n for n in range(LINES) if n not in FAILED]
    assert [result.number async for result in worker.bench.results.finished(job, 31)] == [31, 32, 33, 34, 36, 37, 38, 39]
    job = await worked(worker, job)
    assert worker.servers["a"].simulation.tally.requests == sent + len(FAILED)
    assert (job.status, job.ledger.completed, job.ledger.failed, job.ledger.balances) == (JobStatus.COMPLETED, LINES, 0, True)
    merged = await worker.bench.file_lines(job.output_file_id)
    assert numbers(merged) == [f"c{n}" for n in range(LINES)] and job.error_file_id is None
    assert [line for line in merged if line["custom_id"] in numbers(output)] == output, "what was answered stays to the byte"
    assert job.cost > cost > 0, "what was paid stays counted"
    (before,) = job.earlier
    assert (before["completed"], before["failed"], before["sent_again"]) == (32, 8, 8)
    assert await worker.bench.file_lines(before["error_file_id"]) == errors, "the first errors are kept"
    assert await worker.bench.objects.folder(f"jobs/{job.id}") == []
    with pytest.raises(InvalidRequest, match="has no failed lines"):
        await begun(worker, job)


async def test_of_failed_lines_that_repeat_a_request_one_is_sent_again(worker: Worker) -> None:
    await worker.start(mock("a", price=Price(1.0, 2.0)), a={"models": ("good",)})
    model = worker.servers["a"].simulation

    def line(number: int) -> bytes:
        entry = orjson.loads(with_model(input_line(number), "bad" if number % 4 == 0 else "good"))
        question = [{"role": "user", "content": f"question {number % 4}"}]
        entry["body"] = {"model": entry["body"]["model"], "messages": question, "temperature": 0}
        return orjson.dumps(entry) + b"\n"

    async def chunks() -> AsyncIterator[bytes]:
        yield b"".join(line(number) for number in range(LINES))

    record = await worker.bench.files.add(Upload("in.jsonl"), chunks())
    job_id = worker.bench.job_id()
    new = new_job(job_id, record)
    first = await begin_first_round(worker.bench.objects, job_id, record, new.request)
    job = await worker.bench.jobs.open(replace(new, first_round=first))
    assert (job.ledger.total, job.places, job.repeats) == (LINES, 4, LINES - 4)
    job = await worked(worker, job)
    assert (job.ledger.completed, job.ledger.failed, job.ledger.balances) == (30, 10, True)
    output = await worker.bench.file_lines(job.output_file_id)
    model.change(model.behaviour.changed({"models": ("*",)}))
    sent = model.tally.requests
    one = await worked(worker, await begun(worker, job, RetrySelection.of(lines="9")))
    assert (one.ledger.completed, one.ledger.failed, one.ledger.balances) == (31, 9, True)
    assert model.tally.requests == sent + 1
    again = await begun(worker, one)
    assert (again.places, again.repeats, again.ledger.done) == (1, 8, 31)
    assert [number async for number in numbers_done(worker, again)] == [n for n in range(LINES) if n % 4 or n == 8]
    last = await worked(worker, again)
    assert (last.ledger.completed, last.ledger.balances) == (LINES, True) and model.tally.requests == sent + 2
    merged = await worker.bench.file_lines(last.output_file_id)
    assert numbers(merged) == [f"c{n}" for n in range(LINES)]
    assert [each for each in merged if each["custom_id"] in numbers(output)] == output
    assert [each.get("repeats_line") for each in merged if int(each["custom_id"][1:]) % 4 == 0][:4] == [None, 1, None, 1]


async def numbers_done(worker: Worker, job: Job) -> AsyncIterator[int]:
    async for result in worker.bench.results.finished(job):
        yield result.number


async def test_a_second_round_follows_the_first(worker: Worker) -> None:
    job = await ended_job(worker)
    job = await worked(worker, await begun(worker, job, RetrySelection.of(lines="1-7,40")))
    assert (job.ledger.completed, job.ledger.failed, job.ledger.balances) == (32, 8, True)
    job = await worked(worker, await begun(worker, job, RetrySelection.of(codes="model_not_found")))
    assert (job.ledger.completed, job.ledger.failed, len(job.earlier)) == (32, 8, 2)
    assert [before["sent_again"] for before in job.earlier] == [8, 8]
    assert numbers(await worker.bench.file_lines(job.error_file_id)) == [f"c{n}" for n in sorted(FAILED)]


async def test_a_cancelled_job_goes_on_with_the_lines_that_were_not_finished(worker: Worker) -> None:
    await worker.start(mock("a"))
    job, shard = await worker.shard(10)
    await worker.bench.record(shard, [])
    await worker.bench.jobs.stop(job.id, "cancelled")
    await worker.bench.table.give_back(job.id, 0)
    assert await worker.bench.assembly().end_if_done(job.id)
    job = await worker.bench.jobs.get(job.id)
    assert (job.status, job.ledger.cancelled) == (JobStatus.CANCELLED, 10)
    job = await worked(worker, await begun(worker, job, RetrySelection.of(codes="batch_cancelled")))
    assert (job.status, job.ledger.completed, job.ledger.balances) == (JobStatus.COMPLETED, 10, True)


async def test_lines_are_found_behind_a_mark_and_blank_lines(worker: Worker) -> None:
    lines = [with_model(input_line(n), "bad" if n in FAILED else "good") for n in range(LINES)]
    job = await ended_job(worker, BOM + b"\n  \n".join(lines).rstrip())
    job = await worked(worker, await begun(worker, job))
    assert numbers(await worker.bench.file_lines(job.error_file_id)) == [f"c{n}" for n in sorted(FAILED)]


async def test_of_two_at_once_one_begins(worker: Worker) -> None:
    job = await ended_job(worker)
    began = await asyncio.gather(*(retry(worker).begin(job, RetrySelection(), 60.0) for _ in range(2)))
    assert sorted(began) == [False, True]
    job = await worker.bench.jobs.get(job.id)
    kept = {entry.path for entry in await worker.bench.objects.folder(f"jobs/{job.id}")}
    assert kept == {object_store.kept_path(job.round), object_store.round_order_path(job.round)}
    with pytest.raises(InvalidRequest, match="is in_progress; wait for its end, or cancel it"):
        await retry(worker).begin(job, RetrySelection(), 60.0)


async def test_a_part_of_the_round_before_is_not_taken_for_one_of_this(worker: Worker) -> None:
    job = await ended_job(worker)
    again = await begun(worker, job)
    await worker.bench.write_part(job, 0, 8, mark="from another round")
    again = await worked(worker, again)
    late = [
        line
        for line in await worker.bench.file_lines(again.output_file_id)
        if "from another round" in orjson.dumps(line).decode()
    ]
    assert late == [] and again.ledger.balances


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (
            RetrySelection.of(codes="rate_limit_exceeded"),
            r"no failed lines with the code rate_limit_exceeded; there are: model_not_found \(8\)",
        ),
        (RetrySelection.of(lines="41-50"), "has no such lines: it has 40"),
    ],
)
async def test_a_selection_of_nothing_is_refused_with_what_there_is(worker: Worker, selection: RetrySelection, said: str) -> None:
    job = await ended_job(worker)
    with pytest.raises(InvalidRequest, match=said):
        await begun(worker, job, selection)
    assert (await worker.bench.jobs.get(job.id)) == job, "nothing has changed"
    assert await worker.bench.objects.folder(f"jobs/{job.id}") == []


@pytest.mark.parametrize("lines", ["0", "5-3", "x", "1-", "1,,x", "1 - 2 - 3", "-5"])
def test_lines_that_can_not_be_meant(lines: str) -> None:
    with pytest.raises(InvalidRequest, match="lines are numbers from 1 and ranges of them"):
        RetrySelection.of(lines=lines)


async def test_a_job_whose_input_is_gone_is_refused(worker: Worker) -> None:
    job = await ended_job(worker)
    await worker.bench.objects.delete(object_store.content_path(job.input_file_id))
    with pytest.raises(InvalidRequest, match="is gone: its lines can't be sent again"):
        await begun(worker, job)
