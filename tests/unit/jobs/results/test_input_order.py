"""Results of an ordered job, sorted by the lines of its input."""

import random
from array import array
from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest

from jobs.intake.repeats import FirstLines
from jobs.records import Job, Ledger
from jobs.records.states import JobStatus
from jobs.results import input_order
from jobs.results.formats import error_line, line_number
from jobs.results.input_order import in_input_order
from jobs.results.records import Result, Source

JOB_ID = "batch_0123456789abcdef"


def result(number: int, place: int, text: str = "") -> Result:
    source = list(Source)[number % 3]
    return Result(place, error_line(JOB_ID, number, f"r{number}", "code", f"message {number} {text}"), source)


def job(total: int) -> Job:
    return Job(JOB_ID, JobStatus.FINALIZING, "file-x", "/v1/chat/completions", "24h", 0, 0, Ledger(total, 0, 0), ordered=True)


def first_lines(firsts: list[int]) -> FirstLines:
    return FirstLines(ExitStack(), memoryview(array("I", firsts)))


async def each(results: list[Result]) -> AsyncIterator[Result]:
    for one in results:
        yield one


@pytest.mark.parametrize("count", [1, 64, 1000])
async def test_all_come_by_number_with_what_they_were(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("BLOCK", 64), ("BUFFER", 2000), ("AT_ONCE", 500)):
        monkeypatch.setattr(input_order, name, size)  # all of it on disk, in many pieces
    numbers = random.Random(2).sample(range(count), count)
    given = [result(number, place, "x" * (number % 7) * 50) for place, number in enumerate(numbers)]
    found = [one async for one in in_input_order(job(count), each(given))]
    by_number = sorted(zip(numbers, given, strict=True), key=lambda pair: pair[0])
    assert found == [Result(number, one.line, one.source) for number, one in by_number]


async def test_a_result_comes_once_more_for_each_line_that_repeats_its_request() -> None:
    firsts = [0, 1, 0, 3, 1, 0, 6, 6]
    given = [result(number, place) for place, number in enumerate((6, 1, 0))]  # that of line 3 is not there yet
    with first_lines(firsts) as lines:
        found = [one async for one in in_input_order(job(len(firsts)), each(given), 1, lines)]
    assert [(one.number, line_number(JOB_ID, one.line)) for one in found] == [(1, 1), (2, 0), (4, 1), (5, 0), (6, 6), (7, 6)]


async def test_a_line_that_was_sent_itself_keeps_its_result() -> None:
    with first_lines([0, 0, 0]) as lines:
        found = [one async for one in in_input_order(job(3), each([result(1, 0)]), 0, lines)]
    assert [line_number(JOB_ID, one.line) for one in found] == [1]


async def test_those_before_the_first_are_left_out() -> None:
    found = [
        one.number async for one in in_input_order(job(9), each([result(n, p) for p, n in enumerate((5, 1, 4, 2))]), first=3)
    ]
    assert found == [4, 5]


async def test_leaving_early_leaves_no_file_open() -> None:
    results = in_input_order(job(10), each([result(n, n) for n in range(10)]))
    assert (await anext(results)).number == 0
    await results.aclose()  # type: ignore[attr-defined]
