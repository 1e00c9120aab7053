"""Results in line order, and the end of a job: whatever was finished is kept, and every line is accounted for."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import LedgerBroken
from jobs.intake.files import Upload
from jobs.records import Job
from jobs.records.states import JobStatus
from jobs.results.assembly import Assembly, output_file_id
from jobs.results.records import Result, Source
from jobs.storage import keys, object_store
from jobs.storage.object_store import ObjectStore
from jobs.upkeep.sweep import Sweep
from tests.job_bench import Bench, finished, in_chunks, input_line, new_job


async def numbers(results: AsyncIterator[Result]) -> list[int]:
    return [result.number async for result in results]


async def test_a_job_ends_with_its_lines_in_order(bench: Bench) -> None:
    job = await bench.open_real_job(30)
    shards = [await bench.cut(job, first, first + 10) for first in (0, 10, 20)]
    for shard in (shards[2], shards[0], shards[1]):
        last = await bench.work(shard, failed=[5, 25])
    assert last
    assert await bench.assembly().end_if_done(job.id)
    job = await bench.jobs.get(job.id)
    assert job.status is JobStatus.COMPLETED
    assert (job.ledger.completed, job.ledger.failed, job.ledger.balances) == (28, 2, True)
    output, errors = await bench.file_lines(job.output_file_id), await bench.file_lines(job.error_file_id)
    assert [line["n"] for line in output] == [n for n in range(30) if n not in (5, 25)]
    assert [line["n"] for line in errors] == [5, 25]


async def test_an_ended_job_leaves_only_its_record_and_its_files(bench: Bench) -> None:
    job = await bench.open_real_job(10)
    await bench.work(await bench.cut(job, 0, 10))
    await bench.assembly().end_if_done(job.id)
    left = await bench.keys_left()
    job = await bench.jobs.get(job.id)
    assert job.error_file_id is None
    files = {keys.file(job.input_file_id), keys.file(str(job.output_file_id)), keys.FILES}
    assert left == {keys.job(job.id), keys.JOBS, keys.TURNS, *files}
    assert await bench.objects.folder(object_store.parts_folder(job.id)) == []


async def test_a_job_without_a_single_good_line_has_no_output(bench: Bench) -> None:
    job = await bench.open_real_job(3)
    await bench.work(await bench.cut(job, 0, 3), failed=[0, 1, 2])
    await bench.assembly().end_if_done(job.id)
    job = await bench.jobs.get(job.id)
    assert (job.status, job.output_file_id) == (JobStatus.COMPLETED, None)
    assert len(await bench.file_lines(job.error_file_id)) == 3
    with pytest.raises(FileNotFoundError):
        await bench.objects.info(object_store.content_path(output_file_id(job.id, "output")))


@pytest.mark.parametrize(
    ("ending", "status", "code"),
    [("cancelled", JobStatus.CANCELLED, "batch_cancelled"), ("expired", JobStatus.EXPIRED, "batch_expired")],
)
async def test_a_stopped_job_keeps_what_is_finished_and_accounts_for_the_rest(
    bench: Bench, ending: str, status: JobStatus, code: str
) -> None:
    job = await bench.open_real_job(200)
    await bench.work(await bench.cut(job, 0, 10), failed=[3])  # in a part
    begun = await bench.claim(await bench.cut(job, 10, 20))
    await bench.table.record([(begun, [finished(n) for n in (11, 17)])])  # in a buffer
    await bench.cut(job, 20, 30)  # waits in a queue
    await bench.jobs.stop(job.id, ending)
    assert not await bench.assembly().end_if_done(job.id)  # a worker still has something
    assert await bench.table.give_back(job.id, 10, begun.token)
    assert await bench.assembly().end_if_done(job.id)
    job = await bench.jobs.get(job.id)
    assert job.status is status
    stopped = 200 - 9 - 1 - 2
    assert (job.ledger.completed, job.ledger.failed) == (11, 1)
    assert job.ledger.cancelled + job.ledger.expired == stopped
    assert job.ledger.balances
    output, errors = await bench.file_lines(job.output_file_id), await bench.file_lines(job.error_file_id)
    assert [line["custom_id"] for line in output] == [f"c{n}" for n in [*range(3), *range(4, 10), 11, 17]]
    rest = [n for n in range(200) if n == 3 or (n >= 10 and n not in (11, 17))]
    assert [line["custom_id"] for line in errors] == [f"c{n}" for n in rest]
    assert {line["error"]["code"] for line in errors if "error" in line} == {code}
    assert await bench.redis.keys("rb:buffer:*") == []


async def test_a_job_stopped_before_anything_began_has_only_error_lines(bench: Bench) -> None:
    job = await bench.open_real_job(5)
    await bench.jobs.stop(job.id, "cancelled")
    assert await bench.assembly().end_if_done(job.id)
    job = await bench.jobs.get(job.id)
    assert (job.output_file_id, job.ledger.cancelled) == (None, 5)


async def test_an_unfinished_job_is_not_ended(bench: Bench) -> None:
    job = await bench.open_real_job(20)
    first, second = await bench.cut(job, 0, 10), await bench.cut(job, 10, 20)
    await bench.work(first)
    assert not await bench.assembly().end_if_done(job.id)
    await bench.table.give_back(job.id, 10, second.token)
    assert not await bench.assembly().end_if_done(job.id)
    assert (await bench.jobs.get(job.id)).status is JobStatus.IN_PROGRESS


async def test_a_lost_part_is_never_passed_over(bench: Bench) -> None:
    job = await bench.open_real_job(20)
    for first in (0, 10):
        await bench.work(await bench.cut(job, first, first + 10))
    await bench.objects.delete(object_store.part_path(job.id, 0, 10))
    assert not await bench.assembly().end_if_done(job.id)
    job = await bench.jobs.get(job.id)
    assert (job.status, job.ledger.done) == (JobStatus.IN_PROGRESS, 10)
    assert job.waiting is not None and "lines 1-10" in job.waiting.reason
    # The lines are sent again, and the job ends.
    await bench.work(await bench.cut_again(job, 0, 10))
    assert await bench.assembly().end_if_done(job.id)
    job = await bench.jobs.get(job.id)
    assert (job.status, job.ledger.done, job.waiting) == (JobStatus.COMPLETED, 20, None)


async def test_a_part_that_is_cut_off_is_sent_again(bench: Bench) -> None:
    job = await bench.open_real_job(20)
    for first in (0, 10):
        await bench.work(await bench.cut(job, first, first + 10))
    path = object_store.part_path(job.id, 10, 20)
    await bench.objects.write(path, (await bench.objects.read(path))[:-30])
    with pytest.raises(LedgerBroken):
        await bench.assembly().end_if_done(job.id)
    assert not await bench.assembly().end_if_done(job.id)  # the part is deleted now, and its lines go on
    await bench.work(await bench.cut_again(job, 10, 20))
    assert await bench.assembly().end_if_done(job.id)
    assert (await bench.jobs.get(job.id)).ledger.completed == 20


async def test_a_job_whose_results_and_input_are_gone_ends_with_the_reason(bench: Bench) -> None:
    job = await bench.open_real_job(20)
    for first in (0, 10):
        await bench.work(await bench.cut(job, first, first + 10))
    await bench.objects.delete(object_store.part_path(job.id, 0, 10), object_store.content_path(job.input_file_id))
    assert await bench.assembly().end_if_done(job.id)
    job = await bench.jobs.get(job.id)
    assert (job.status, job.ledger.completed) == (JobStatus.FAILED, 10)
    assert "lines 1-10" in job.errors[0].message
    assert len(await bench.file_lines(job.output_file_id)) == 10, "what there is is kept"


@pytest.mark.parametrize("ending", ["cancelled", "expired"])
async def test_a_job_that_is_being_finalized_can_be_stopped(bench: Bench, ending: str) -> None:
    job = await bench.open_real_job(20)
    for first in (0, 10):
        await bench.work(await bench.cut(job, first, first + 10))
    await bench.jobs.begin_finalizing(job)
    await bench.objects.delete(object_store.part_path(job.id, 0, 10))
    await bench.jobs.stop(job.id, ending)
    assert await bench.assembly().end_if_done(job.id)
    job = await bench.jobs.get(job.id)
    assert (job.status, job.ledger.completed) == (JobStatus(ending), 10)
    assert len(await bench.file_lines(job.error_file_id)) == 10


async def test_finalizing_does_not_begin_for_a_job_that_was_stopped_meanwhile(bench: Bench) -> None:
    job = await bench.open_real_job(20)
    await bench.jobs.stop(job.id, "cancelled")
    await bench.jobs.begin_finalizing(job)  # as it was read before
    assert (await bench.jobs.get(job.id)).status is JobStatus.CANCELLING


async def test_parts_of_an_ended_job_are_swept_and_leave_no_folder(bench: Bench, tmp_path: Path) -> None:
    job = await bench.open_real_job(20)
    for first in (0, 10):
        await bench.work(await bench.cut(job, first, first + 10))
    assert await bench.assembly().end_if_done(job.id)
    await bench.write_part(job, 0, 10)  # by a worker that had lost its shard
    sweep = Sweep(bench.redis, bench.jobs, bench.files, bench.objects)
    await sweep.delete_orphan_parts()
    assert await bench.objects.folder(object_store.parts_folder(job.id)) == []
    assert await bench.objects.folders(object_store.JOBS_FOLDER) == []


async def test_workers_that_are_gone_are_forgotten(bench: Bench) -> None:
    now = time.time()
    for process, seconds in (("here", 5), ("late", -30), ("gone", -100)):
        await bench.redis.hset(keys.SERVING, process, f"{int((now + seconds) * 1000)}|a")
    await Sweep(bench.redis, bench.jobs, bench.files, bench.objects).forget_gone_workers()
    assert set(await bench.redis.hkeys(keys.SERVING)) == {b"here", b"late"}


async def test_parts_that_overlap_give_each_line_once(bench: Bench) -> None:
    """As after a Redis that lost its last second: a range was cut again, at other places."""
    job = await bench.open_real_job(30)
    await bench.write_part(job, 0, 17, mark="old")
    await bench.write_part(job, 5, 9, mark="old")
    for first, end in ((0, 10), (10, 20), (20, 30)):
        await bench.work(await bench.cut(job, first, end))
    assert await numbers(bench.results.finished(job)) == list(range(30))
    assert await bench.assembly().end_if_done(job.id)
    job = await bench.jobs.get(job.id)
    assert [line["n"] for line in await bench.file_lines(job.output_file_id)] == list(range(30))


async def test_lines_of_a_part_are_kept_when_their_range_was_cut_again(bench: Bench) -> None:
    job = await bench.open_real_job(30)
    await bench.write_part(job, 3, 8)
    again = await bench.claim(await bench.cut(job, 0, 20))
    await bench.table.record([(again, [finished(n) for n in (1, 5, 9)])])
    assert await numbers(bench.results.finished(job)) == [1, 3, 4, 5, 6, 7, 9]
    assert await numbers(bench.results.finished(job, 4)) == [4, 5, 6, 7, 9]
    await bench.table.give_back(job.id, 0, again.token)
    await bench.jobs.stop(job.id, "cancelled")
    assert await bench.assembly().end_if_done(job.id)
    assert (await bench.jobs.get(job.id)).ledger.completed == 7


async def test_results_can_be_read_while_the_job_runs(bench: Bench) -> None:
    job = await bench.open_real_job(40)
    first, second = await bench.cut(job, 0, 10), await bench.claim(await bench.cut(job, 10, 20))
    third = await bench.cut(job, 20, 30)
    await bench.work(third)
    await bench.table.record([(second, [finished(n) for n in (18, 12)])])
    assert await numbers(bench.results.finished(job)) == [12, 18, *range(20, 30)]
    assert await numbers(bench.results.finished(job, 18)) == [18, *range(20, 30)]
    assert await numbers(bench.results.finished(job, 25)) == list(range(25, 30))
    await bench.work(first)
    assert await bench.results.first_unfinished(job) == 10


async def test_a_shard_that_closes_while_results_are_read_is_not_missed(bench: Bench) -> None:
    job = await bench.open_real_job(20)
    first, second = await bench.cut(job, 0, 10), await bench.claim(await bench.cut(job, 10, 20))
    await bench.work(first)
    await bench.table.record([(second, [finished(n) for n in range(10, 20)])])
    reading = bench.results.finished(job)
    assert (await anext(reading)).number == 0
    await bench.write_part(job, 10, 20)
    await bench.table.commit(second)
    assert await numbers(reading) == list(range(1, 20))


async def test_two_processes_that_end_a_job_at_once_end_it_once(bench: Bench) -> None:
    job = await bench.open_real_job(50)
    await bench.work(await bench.cut(job, 0, 50))
    ended = await asyncio.gather(*(bench.assembly(f"p{i}").end_if_done(job.id) for i in range(4)))
    assert sorted(ended) == [False, False, False, True]


class SlowStore(ObjectStore):
    """A store whose first writing of an error file waits for a sign before it begins."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner._store)
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def write_stream(self, path: str, chunks: AsyncIterator[bytes]) -> None:
        self.reached.set()
        await self.go.wait()
        await super().write_stream(path, chunks)


@pytest.mark.parametrize("same_process", [True, False])
async def test_a_finalizer_that_comes_too_late_spoils_nothing(bench: Bench, same_process: bool) -> None:
    """It was held up until its lease was over, another one ended the job and deleted the parts, and then it went on."""
    job = await bench.open_real_job(20)
    await bench.work(await bench.cut(job, 0, 10))
    await bench.jobs.stop(job.id, "cancelled")
    slow = SlowStore(bench.objects)
    late = Assembly("p1", bench.jobs, bench.table, bench.files, slow)
    ending = asyncio.create_task(late.end_if_done(job.id))
    await slow.reached.wait()
    other = bench.assembly("p1" if same_process else "p2")
    if same_process:
        assert not await other.end_if_done(job.id)  # the other one has the right, though it is of the same process
    await bench.redis.delete(keys.finalizer(job.id))
    assert await other.end_if_done(job.id)
    slow.go.set()
    assert await ending is False
    job = await bench.jobs.get(job.id)
    assert [line["n"] for line in await bench.file_lines(job.output_file_id)] == list(range(10))
    assert [line["custom_id"] for line in await bench.file_lines(job.error_file_id)] == [f"c{n}" for n in range(10, 20)]


async def test_a_crash_while_ending_is_made_up_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await bench.open_real_job(20)
    await bench.work(await bench.cut(job, 0, 20))

    async def crash(*args: Any) -> bool:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(bench.jobs, "finish", crash)
        with pytest.raises(OSError, match="full"):
            await bench.assembly().end_if_done(job.id)
    assert (await bench.jobs.get(job.id)).status is JobStatus.FINALIZING
    assert await bench.assembly("two").end_if_done(job.id)
    assert (await bench.jobs.get(job.id)).status is JobStatus.COMPLETED


async def test_an_input_with_a_bom_and_odd_line_breaks_is_accounted_for(bench: Bench) -> None:
    content = b"\xef\xbb\xbf\n\r\n" + b"\n  \n".join(input_line(n).rstrip() + b"\r" for n in range(100))
    record = await bench.files.add(Upload("in.jsonl"), in_chunks(content, 7))
    job = await bench.jobs.open(new_job(bench.job_id(), record))
    await bench.work(await bench.cut(job, 0, 70))
    await bench.jobs.stop(job.id, "expired")
    assert await bench.assembly().end_if_done(job.id)
    job = await bench.jobs.get(job.id)
    assert [line["custom_id"] for line in await bench.file_lines(job.error_file_id)] == [f"c{n}" for n in range(70, 100)]


async def test_redis_holds_as_much_for_a_million_lines_as_for_a_thousand(bench: Bench) -> None:
    async def used() -> int:
        return int((await bench.redis.info("memory"))["used_memory"])

    grown: list[int] = []
    for lines in (1_000, 1_000_000):
        before = await used()
        job: Job = await bench.open_job(lines)
        await bench.cut(job, 0, 500)
        grown.append(await used() - before)
    assert grown[1] < grown[0] + 50_000
    assert grown[1] < 1_000_000


def test_sources_tell_how_a_line_ended() -> None:
    assert {source.value for source in Source} == {"completed", "failed", "stopped"}
