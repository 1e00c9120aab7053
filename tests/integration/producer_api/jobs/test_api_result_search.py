"""Texts that are looked for in a job's lines, some lines at a time."""

import orjson
import pytest
from test_api_result_races import CHUNK, LINES, numbers, open_job

from jobs.node import Node
from producer_api.jobs import results
from producer_api.jobs.results import ResultQuery, search


@pytest.mark.parametrize("has_ended", [False, True], ids=["running", "ended"])
async def test_lines_are_found_by_their_prompts(node: Node, has_ended: bool) -> None:
    job, hands = await open_job(node)
    await hands.finish([0, 1, 4, 11], failed=[2])
    if has_ended:
        await hands.finish([3, *range(5, 11)])
        await hands.end()
        job = await node.service.jobs.get(job.id)
    lines, searched = await search(node.service, job, 0, ResultQuery(), "HI")
    assert numbers(lines) == (list(range(LINES)) if has_ended else [0, 1, 2, 4, 11])
    assert searched == LINES
    assert all(orjson.loads(line)["request"]["messages"][0]["content"] == "hi" for line in lines.splitlines())
    assert numbers((await search(node.service, job, 0, ResultQuery(status="failed"), "hi"))[0]) == [2]
    assert await search(node.service, job, 0, ResultQuery(), "ho") == (b"", LINES)
    assert await search(node.service, job, 20, ResultQuery(), "hi") == (b"", 20)


@pytest.mark.parametrize(("limit", "size", "seconds", "at_once"), [(3, 0, 2, 3), (None, CHUNK, 2, 2), (None, 0, 0, 1)])
async def test_a_search_ends_early_and_says_where(
    node: Node, limit: int | None, size: int, seconds: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "SEARCH_SECONDS", seconds)
    monkeypatch.setattr(results, "MOST_FOUND", CHUNK + 1000)
    job, hands = await open_job(node)
    await hands.finish(range(LINES), size=size)
    found: list[list[int]] = []
    start = 0
    while start < LINES:
        lines, searched = await search(node.service, job, start, ResultQuery(limit=limit), "hi")
        found.append(numbers(lines))
        assert searched > start
        start = searched
    assert [number for page in found for number in page] == list(range(LINES))
    assert len(found[0]) == at_once
