"""Input lines of a known size, made as they are needed."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["InputFile", "custom_id"]

BLOCK = 1024 * 1024
"""Bytes, about, of one block."""
_HEAD = (
    '{{"custom_id":"{id}","method":"POST","url":"/v1/chat/completions","body":{{"model":"simulated","user":"{id}",'
    '"max_tokens":32,"messages":[{{"role":"user","content":"Summarise record {id}: '
)
_TAIL = '"}]}}\n'
_WORDS = "the quick brown fox jumps over the lazy dog and goes on "


@dataclass(frozen=True, slots=True)
class InputFile:
    """An input of `lines` batch lines of exactly `line_bytes` bytes each, line break included (230 or more)."""

    lines: int
    line_bytes: int

    @property
    def size(self) -> int:
        """Bytes of the whole input."""
        return self.lines * self.line_bytes

    def blocks(self) -> Iterator[bytes]:
        """Yield the input in blocks of about 1 MB."""
        head = _HEAD.format(id=custom_id(0))
        room = self.line_bytes - len(head) - len(_TAIL)
        if room < 0:
            raise ValueError(f"a line has {self.line_bytes - room} bytes or more, not {self.line_bytes}")
        text = (_WORDS * (room // len(_WORDS) + 1))[:room]
        before, between, between_too, after = (head + text + _TAIL).split(custom_id(0))
        per_block = max(1, BLOCK // self.line_bytes)
        for first in range(0, self.lines, per_block):
            ids = (custom_id(number) for number in range(first, min(first + per_block, self.lines)))
            yield "".join([f"{before}{i}{between}{i}{between_too}{i}{after}" for i in ids]).encode()

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the same blocks for a consumer that is asynchronous."""
        for block in self.blocks():
            yield block

    def write(self, path: Path) -> Path:
        """Write the input to a file and return its path."""
        with path.open("wb") as file:
            file.writelines(self.blocks())
        return path


def custom_id(number: int) -> str:
    """Return the name of a line; they are all of the same length."""
    return f"line-{number:08d}"
