"""Results that are read while their job moves on under the reader."""

import orjson
import pytest
from live_server import Hands, batch_lines, open_for_work

from jobs.intake.files import Upload
from jobs.node import Node
from jobs.records import Job
from jobs.service import JobRequest
from jobs.storage.object_store import parts_folder
from producer_api.jobs.results import next_line, results_of

LINES = 12
CHUNK = 300_000
"""Bytes of a line that is sent by itself."""


async def open_job(node: Node) -> tuple[Job, Hands]:
    async def content():  # type: ignore[no-untyped-def]
        yield batch_lines(LINES)

    await open_for_work(node)
    file = await node.service.files.add(Upload("in.jsonl"), content())
    job = await node.service.submit(JobRequest(file.id, "/v1/chat/completions"))
    assert len(await node.service.shards.open_of(job.id)) > 1
    return job, Hands(node, job.id)


def numbers(chunk: bytes) -> list[int]:
    return [int(orjson.loads(line)["custom_id"][1:]) for line in chunk.splitlines()]


async def test_a_job_that_ends_under_its_reader_loses_no_line(node: Node) -> None:
    job, hands = await open_job(node)
    await hands.finish([0, 1, 4, 11], size=CHUNK)
    stream = results_of(node.service, job, 0)
    seen = numbers(await anext(stream))
    await hands.finish([2, 3, 6, *range(7, 11)], failed=[5], size=CHUNK)
    await hands.end()
    async for chunk in stream:
        seen += numbers(chunk)
    assert seen[0] == 0
    assert sorted(seen) == list(range(LINES))


async def test_a_shard_that_is_closed_under_its_reader_is_read_from_its_part(node: Node) -> None:
    job, hands = await open_job(node)
    last_shard = (await node.service.shards.open_of(job.id))[-1]
    await hands.finish([0, *range(last_shard, LINES - 1)], size=CHUNK)
    assert await next_line(node.service, job, last_shard) == LINES - 1
    stream = results_of(node.service, job, 0)
    seen = numbers(await anext(stream))
    await hands.finish([LINES - 1], size=CHUNK)
    async for chunk in stream:
        seen += numbers(chunk)
    assert seen == [0, *range(last_shard, LINES)]


async def test_parts_that_go_with_the_end_of_their_job_are_made_up_for(node: Node) -> None:
    job, hands = await open_job(node)
    await hands.finish(range(LINES), size=CHUNK)
    stream = results_of(node.service, job, 0)
    seen = numbers(await anext(stream))
    await hands.end()
    async for chunk in stream:
        seen += numbers(chunk)
    assert seen == list(range(LINES))


async def test_parts_that_are_lost_are_reported(node: Node) -> None:
    job, hands = await open_job(node)
    await hands.finish(range(LINES), size=CHUNK)
    stream = results_of(node.service, job, 0)
    await anext(stream)
    for part in await node.objects.folder(parts_folder(job.id)):
        await node.objects.delete(part.path)
    with pytest.raises(FileNotFoundError):
        async for _ in stream:
            pass


async def test_the_next_line_is_the_first_gap(node: Node) -> None:
    job, hands = await open_job(node)
    assert await next_line(node.service, job, 0) == 0
    assert await next_line(node.service, job, 7) == 7
    await hands.finish([1, 2])
    assert [await next_line(node.service, job, start) for start in (0, 1, 2, 3)] == [0, 3, 3, 3]
    await hands.finish([0])
    assert await next_line(node.service, job, 0) == 3
