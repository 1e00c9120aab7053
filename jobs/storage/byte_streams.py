"""Splits streams of bytes into lines, and gathers pieces into chunks."""

from collections.abc import AsyncIterable, AsyncIterator

__all__ = ["gathered", "lines_of", "whole_lines"]


async def lines_of(chunks: AsyncIterable[bytes], with_rest: bool = False) -> AsyncIterator[list[bytes]]:
    """Yield lines without their line breaks, those that a chunk completes at a time.

    What follows the last line break is a line only `with_rest`: our own files end with one, so it has been cut off. Memory: one
    chunk and one line.
    """
    rest = b""
    async for chunk in chunks:
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        yield lines
    if rest and with_rest:
        yield [rest]


async def whole_lines(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield the chunks again, each cut after its last line break; what follows it begins the next one.

    What follows the last line break of all is passed over. Memory: one chunk and one line.
    """
    rest = b""
    async for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if end:
            yield rest + chunk[:end] if rest or end < len(chunk) else chunk
            rest = chunk[end:]
        else:
            rest += chunk


async def gathered(pieces: AsyncIterable[bytes], size: int) -> AsyncIterator[bytes]:
    """Yield the pieces joined into chunks of at least `size` bytes; the last one may be smaller."""
    held = bytearray()
    async for piece in pieces:
        held += piece
        if len(held) >= size:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
