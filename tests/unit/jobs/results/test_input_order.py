"""Results of an ordered job, sorted by the lines of its input."""

import random
from collections.abc import AsyncIterator

import pytest

from jobs.results import input_order
from jobs.results.formats import error_line
from jobs.results.input_order import in_input_order
from jobs.results.records import Result, Source

JOB = "batch_0123456789abcdef"


def result(number: int, place: int, text: str = "") -> Result:
    source = list(Source)[number % 3]
    return Result(place, error_line(JOB, number, f"r{number}", "code", f"message {number} {text}"), source)


async def each(results: list[Result]) -> AsyncIterator[Result]:
    for one in results:
        yield one


@pytest.mark.parametrize("count", [0, 1, 1000])
async def test_all_come_by_number_with_what_they_were(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("LINES_PER_BUCKET", 64), ("BUFFER", 2000), ("BUCKET_BUFFER", 200), ("AT_ONCE", 500)):
        monkeypatch.setattr(input_order, name, size)  # all of it on disk, in many pieces
    numbers = random.Random(2).sample(range(count), count)
    given = [result(number, place, "x" * (number % 7) * 50) for place, number in enumerate(numbers)]
    found = [one async for one in in_input_order(JOB, each(given))]
    by_number = sorted(zip(numbers, given, strict=True), key=lambda pair: pair[0])
    assert found == [Result(number, one.line, one.source) for number, one in by_number]


async def test_those_before_the_first_are_left_out() -> None:
    found = [one.number async for one in in_input_order(JOB, each([result(n, p) for p, n in enumerate((5, 1, 4, 2))]), first=3)]
    assert found == [4, 5]


async def test_leaving_early_leaves_no_file_open() -> None:
    results = in_input_order(JOB, each([result(n, n) for n in range(10)]))
    assert (await anext(results)).number == 0
    await results.aclose()  # type: ignore[attr-defined]
