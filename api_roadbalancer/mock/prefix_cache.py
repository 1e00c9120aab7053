"""A simulated prefix cache: blocks of prompts, hashed with all that precedes them, evicted by least recent use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

__all__ = ["BLOCK", "PrefixCache"]

BLOCK = 256
"""Characters; some 64 tokens. Only whole blocks are kept."""


class PrefixCache:
    def __init__(self) -> None:
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def hits(self, text: str) -> int:
        """How many blocks, from the beginning, are there."""
        found = 0
        for block in _chain(text):
            if block not in self._blocks:
                break
            found += 1
        return found

    def store(self, text: str, most: int) -> None:
        """Keeps a text's blocks, and `most` in all."""
        for block in _chain(text):
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > most:
            self._blocks.popitem(last=False)


def _chain(text: str) -> Iterator[int]:
    before = 0
    for start in range(0, len(text) - BLOCK + 1, BLOCK):
        before = hash((before, text[start : start + BLOCK]))
        yield before
