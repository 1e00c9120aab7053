"""Validates and indexes an input as a stream, in bounded memory."""

import heapq
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum

import orjson

from jobs.intake.line_ids import index_chunks
from jobs.intake.line_index import BOM, IndexBuilder, is_blank
from jobs.intake.lines import CHAT_PATH, MAX_LINE_BYTES, InputLine, LineRefused, check_line, expand_shorthand, parse_json
from jobs.intake.media_urls import media_sources
from jobs.intake.prefix_order import PrefixOrder
from jobs.intake.repeats import RepeatedRequests
from jobs.intake.uniqueness import FirstUses
from jobs.records import BadLine

__all__ = ["Form", "Intake", "IntakeResult"]

MAX_ERRORS = 100
"""Errors that are listed; a file with more lists the first ones."""
MAX_MODELS = 1000
"""Different models that one input may name."""


_NUMBER_BITS = 32
_NUMBER = (1 << _NUMBER_BITS) - 1
"""Of a line's place: its number, from 0 and without blank lines. Above it, how many blank lines stand before it."""


class Form(Enum):
    """What the lines may look like."""

    BATCH = "batch"
    """OpenAI batch lines; the file is kept to the byte."""
    SHORTHAND = "shorthand"
    """Batch lines or shorthand ones; kept as batch lines."""


@dataclass(frozen=True, slots=True)
class IntakeResult:
    """What is known of an input after its last byte. `size` and `index` are those of the kept file."""

    size: int
    lines: int
    models: dict[str, int]
    paths: dict[str, int]
    media: dict[str, int]
    errors: tuple[BadLine, ...]
    index: bytes
    ordered: bool = False
    repeats: int = 0


class Intake:
    """Feed it the file in chunks of any size, keep what `feed` and `finish` return, then ask for the `result`.

    A context manager, since it may need temporary files. Its methods block for the time that checking takes (some 10 µs a
    line).
    """

    def __init__(self, form: Form = Form.BATCH) -> None:
        self._form = form
        self._ids = FirstUses()
        self._index = IndexBuilder()
        self._order = PrefixOrder()
        self._repeats = RepeatedRequests()
        self._stack = ExitStack()
        self._rest = b""
        self._skipping = False
        self._number = 0
        """Physical lines begun so far: what an editor shows."""
        self._lines = 0
        self._kept = 0
        self._offset = 0
        """Byte of the input at which the line under way begins."""
        self._models: dict[str, int] = {}
        self._paths: dict[str, int] = {}
        self._media: dict[str, int] = {}
        self._errors: list[BadLine] = []

    def __enter__(self) -> "Intake":
        for part in (self._ids, self._order, self._repeats):
            self._stack.enter_context(part)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def feed(self, chunk: bytes) -> bytes:
        """Check the lines that end in `chunk` and return what is to be kept."""
        kept: list[bytes] = []
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._take(line, len(line) + 1, kept)
        if len(self._rest) > MAX_LINE_BYTES:
            self._skip_rest()
        return self._keep(chunk, kept)

    def finish(self) -> bytes:
        """Check the last line, if it has no line break, and return what is still to be kept."""
        kept: list[bytes] = []
        if self._rest:
            self._take(self._rest, len(self._rest), kept)
            self._rest = b""
        if self._lines == 0 and not self._errors:
            self._errors.append(BadLine("empty_file", "the file has no requests in it; write one JSON object a line"))
        return self._keep(b"", kept)

    def result(self) -> IntakeResult:
        """Return what was found. Call after `finish`."""
        for place, first in heapq.nsmallest(MAX_ERRORS - len(self._errors), self._ids.repeats()):
            self._refuse_duplicate(place, first)
        errors = sorted(self._errors, key=lambda bad: bad.line or 0)
        return IntakeResult(
            self._kept,
            self._lines,
            self._models,
            self._paths,
            self._media,
            tuple(errors[:MAX_ERRORS]),
            self._index.finish(self._kept),
        )

    def order(self) -> Iterator[bytes]:
        """Yield the order in which lines that begin alike are neighbours; nothing if it gains nothing. Call after `finish`."""
        return self._order.chunks()

    def first_lines(self) -> Iterator[bytes]:
        """Yield the array of first lines (see jobs.intake.repeats); nothing if no request is repeated. Call after `finish`."""
        return self._repeats.chunks()

    @property
    def repeats(self) -> int:
        """How many lines repeat a request. Call after `first_lines`."""
        return self._repeats.count

    def ids(self) -> Iterator[bytes]:
        """Yield the index of ids (see jobs.intake.line_ids). Call after `finish`."""
        return index_chunks((digest, place & _NUMBER) for digest, place in self._ids.firsts())

    def _keep(self, chunk: bytes, lines: list[bytes]) -> bytes:
        if self._form is Form.BATCH:
            self._kept += len(chunk)
            return chunk
        return b"".join(lines)

    def _skip_rest(self) -> None:
        """Forget the beginning of a line that is too long; its end is passed over too."""
        if not self._skipping:
            self._number += 1
            self._refuse_long()
        self._skipping = True
        self._offset += len(self._rest)
        self._rest = b""

    def _take(self, line: bytes, length: int, kept: list[bytes]) -> None:
        offset = self._offset
        self._offset += length
        if self._skipping:
            self._skipping = False
            return
        self._number += 1
        if len(line) > MAX_LINE_BYTES:
            self._refuse_long()
            return
        if self._number == 1 and line.startswith(BOM):
            line, offset = line[len(BOM) :], offset + len(BOM)
        if is_blank(line):
            return
        try:
            entry = parse_json(line, self._number)
            if self._form is Form.SHORTHAND:
                expanded = expand_shorthand(entry, self._number)
                line = orjson.dumps(expanded) if expanded is not entry else line.strip()
                entry = expanded
            checked = check_line(entry, self._number)
        except LineRefused as exc:
            self._refuse(exc.bad)
            self._lines += 1
            return
        self._remember(checked)
        if self._form is Form.SHORTHAND:
            offset = self._kept
            kept.append(line + b"\n")
            self._kept += len(line) + 1
        self._index.add(offset)
        if checked.path == CHAT_PATH:
            self._order.add(line, checked.body.get("tools"), offset)
        self._repeats.add(checked.path, checked.body)
        self._lines += 1

    def _remember(self, checked: InputLine) -> None:
        place = (self._number - 1 - self._lines) << _NUMBER_BITS | self._lines
        first = self._ids.add(checked.custom_id.encode("utf-8", "surrogatepass"), place)
        if first is not None:
            self._refuse_duplicate(place, first)
        self._paths.setdefault(checked.path, self._number)
        for _, source in media_sources(checked.body):
            self._media.setdefault(str(source), self._number)
        for model in checked.models:
            if model not in self._models and len(self._models) < MAX_MODELS:
                self._models[model] = self._number

    def _refuse(self, bad: BadLine) -> None:
        if len(self._errors) < MAX_ERRORS:
            self._errors.append(bad)

    def _refuse_long(self) -> None:
        message = f"line {self._number}: is longer than {MAX_LINE_BYTES // 2**20} MB; split the request or link to its files"
        self._refuse(BadLine("line_too_long", message, self._number))

    def _refuse_duplicate(self, place: int, first: int) -> None:
        line = _physical(place)
        message = f"line {line}: duplicate custom_id, first used on line {_physical(first)}"
        self._refuse(BadLine("duplicate_custom_id", message, line, "custom_id"))


def _physical(place: int) -> int:
    """Return the number of a line as an editor shows it."""
    return (place & _NUMBER) + (place >> _NUMBER_BITS) + 1
