"""`roadbalancer results` of a job that ends, and whose parts are deleted, while they are read."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from test_api_result_races import LINES, open_job

from api_roadbalancer.cli import results
from api_roadbalancer.local_jobs import LocalJobs
from jobs.node import Node
from jobs.records import Job


def ending_under_its_reader(node: Node, hands: Any) -> Any:
    """Reading of the finished lines that ends the job after the first one."""
    finished = node.service.results.finished

    async def lines(job: Job, start: int = 0) -> AsyncIterator[Any]:
        async for result in finished(job, start):
            yield result
            await hands.end()
            raise FileNotFoundError("the part was deleted")

    return lines


@pytest.mark.parametrize("command", ["follow", "print", "write"])
async def test_it_goes_on_with_the_files_of_the_ended_job(
    node: Node, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job, hands = await open_job(node)
    await hands.finish(range(LINES))
    monkeypatch.setattr(node.service.results, "finished", ending_under_its_reader(node, hands))
    printed = bytearray()
    monkeypatch.setattr(results, "_out", printed.extend)
    reader = results._Reader(LocalJobs(node), only_failed=False, with_input=False)
    match command:
        case "follow":
            await results._follow(reader, job)
        case "print":
            await results._print_all(reader.whole(job))
        case _:
            await results._write(reader, job, tmp_path / "out.jsonl")
            printed.extend((tmp_path / "out.jsonl").read_bytes())
    assert [orjson.loads(line)["custom_id"] for line in printed.splitlines()] == [f"c{number}" for number in range(LINES)]
