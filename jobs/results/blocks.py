"""Blocks of consecutive results with the same source, so that parts without errors are copied without handling each line."""

from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from jobs.results.records import Result, Source

__all__ = ["Block", "blocks_of", "in_blocks", "results_of"]

AT_ONCE = 1024 * 1024
"""Bytes of single results that are gathered into one block."""


@dataclass(frozen=True, slots=True)
class Block:
    """The results of lines `first` up to `end`, each with its line break."""

    first: int
    end: int
    content: bytes
    source: Source

    @property
    def lines(self) -> int:
        return self.end - self.first

    def from_line(self, number: int) -> "Block":
        """Return the block without the lines before `number`, which is one of its lines."""
        if number <= self.first:
            return self
        rest = self.content.split(b"\n", number - self.first)[-1]
        return Block(number, self.end, rest, self.source)


def blocks_of(marked: bytes, first: int) -> Iterator[Block]:
    """Yield blocks of whole lines of a part, in which each line begins with `0` (completed) or `1` (failed); `first` is the
    number of the first one."""
    # Slices of a memoryview, so that each byte is copied once: a line with embeddings has kilobytes.
    view = memoryview(marked)
    held: list[memoryview] = []
    start, mark = 0, marked[:1]
    while end := marked.find(b"\n", start) + 1:
        if marked[start : start + 1] != mark:
            yield _marked_block(mark, held, first)
            first, mark, held = first + len(held), marked[start : start + 1], []
        held.append(view[start + 1 : end])
        start = end
    if held:
        yield _marked_block(mark, held, first)


def _marked_block(mark: bytes, lines: Sequence[memoryview], first: int) -> Block:
    return Block(first, first + len(lines), b"".join(lines), Source.FAILED if mark == b"1" else Source.COMPLETED)


async def in_blocks(results: AsyncIterable[Result]) -> AsyncIterator[Block]:
    """Gather results into blocks."""
    held: list[Result] = []
    size = 0
    async for result in results:
        if held and (size >= AT_ONCE or (result.number, result.source) != (held[-1].number + 1, held[-1].source)):
            yield _block(held)
            held, size = [], 0
        held.append(result)
        size += len(result.line)
    if held:
        yield _block(held)


def _block(results: list[Result]) -> Block:
    content = b"\n".join([*(result.line for result in results), b""])
    return Block(results[0].number, results[-1].number + 1, content, results[0].source)


async def results_of(blocks: AsyncIterable[Block]) -> AsyncIterator[Result]:
    """Yield the single results of blocks."""
    async for block in blocks:
        for number, line in enumerate(block.content.split(b"\n")[:-1], block.first):
            yield Result(number, line, block.source)
