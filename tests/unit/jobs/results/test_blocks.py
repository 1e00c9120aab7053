import random
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

import pytest

from jobs.results.blocks import Block, blocks_of, in_blocks, results_of
from jobs.results.records import Result, Source
from jobs.storage.byte_streams import whole_lines

T = TypeVar("T")


async def _each(items: Iterable[T]) -> AsyncIterator[T]:
    for item in items:
        yield item


def _results(seed: int, count: int = 200) -> list[Result]:
    rng = random.Random(seed)
    share = rng.choice((0.0, 0.02, 0.5, 1.0))
    lines = [b'{"n":%d,"text":"%b"}' % (number, b"0\r1" * rng.randrange(50)) for number in range(count)]
    return [Result(n, line, Source.FAILED if rng.random() < share else Source.COMPLETED) for n, line in enumerate(lines, 70)]


def _part(results: Iterable[Result]) -> bytes:
    return b"".join((b"1" if each.source is Source.FAILED else b"0") + each.line + b"\n" for each in results)


@pytest.mark.parametrize("seed", range(8))
async def test_a_part_is_read_in_blocks_whatever_its_chunks(seed: int) -> None:
    results = _results(seed)
    part = _part(results)
    cuts = sorted(random.Random(seed).sample(range(len(part)), 40))
    chunks = [part[start:end] for start, end in zip([0, *cuts], [*cuts, len(part)], strict=True)]
    blocks, first = [], 70
    async for marked in whole_lines(_each(chunks)):
        for block in blocks_of(marked, first):
            blocks.append(block)
            first = block.end
    assert [result async for result in results_of(_each(blocks))] == results
    assert all(block.content.count(b"\n") == block.lines for block in blocks)


async def test_what_follows_the_last_line_break_is_no_line() -> None:
    assert [chunk async for chunk in whole_lines(_each([b"0{}\n0{", b"cut off"]))] == [b"0{}\n"]


def test_a_part_without_errors_is_one_block() -> None:
    assert list(blocks_of(b"0{}\n0[1]\n", 5)) == [Block(5, 7, b"{}\n[1]\n", Source.COMPLETED)]


@pytest.mark.parametrize("number", [0, 70, 71, 119, 269])
async def test_a_block_from_a_line_on(number: int) -> None:
    results = [Result(each.number, each.line, Source.COMPLETED) for each in _results(2)]
    [block] = blocks_of(_part(results), 70)
    rest = block.from_line(number)
    assert [each async for each in results_of(_each([rest]))] == [each for each in results if each.number >= number]


@pytest.mark.parametrize("seed", range(4))
async def test_single_results_are_gathered_without_loss(seed: int) -> None:
    results = [each for each in _results(seed, 500) if each.number % 7]
    blocks = [block async for block in in_blocks(_each(results))]
    assert [each async for each in results_of(_each(blocks))] == results
    assert all(block.lines == block.content.count(b"\n") for block in blocks)
