"""Makes requests of rows, by templates over their columns."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

import orjson

from api_roadbalancer.tables.reading import Row, Table
from jobs.errors import InvalidRequest
from jobs.intake.lines import CHAT_PATH

__all__ = ["RowRequests"]

ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class RowRequests:
    """One chat request for each row of a table: `prompt` and `system` are templates with a column's name in braces, `fields` go
    into each request as they are. Raises InvalidRequest for a template that can't be filled."""

    table: Table
    prompt: str
    system: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for option, template in (("--prompt", self.prompt), ("--system", self.system or "")):
            for name in _columns_of(template, option):
                if name not in self.table.columns:
                    there = ", ".join(self.table.columns)
                    raise InvalidRequest(
                        f"{option} names {{{name}}}, which is no column of {self.table.path}; there are: {there}"
                    )

    def words(self) -> list[str]:
        """Return the words of the command line that say the same."""
        system = ["--system", self.system] if self.system is not None else []
        fields = [f"{name}={orjson.dumps(value).decode()}" for name, value in self.fields.items()]
        return ["--prompt", self.prompt, *system, *(word for each in fields for word in ("--field", each))]

    def digest(self) -> str:
        """Return a digest of what makes requests of the rows (BLAKE2b, 32 hexadecimal digits)."""
        content = orjson.dumps([self.prompt, self.system, self.fields], option=orjson.OPT_SORT_KEYS)
        return hashlib.blake2b(content, digest_size=16).hexdigest()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the requests as batch lines, some hundreds of rows at a time. Memory: these."""
        lines = self._lines()
        while batch := await asyncio.to_thread(lambda: list(itertools.islice(lines, ROWS_AT_ONCE))):
            yield b"".join(batch)

    def _lines(self) -> Iterator[bytes]:
        prompt, system = _parsed(self.prompt), _parsed(self.system) if self.system is not None else None
        for number, row in enumerate(self.table.rows(), 1):
            messages = [] if system is None else [{"role": "system", "content": self._filled(system, row, number)}]
            messages.append({"role": "user", "content": self._filled(prompt, row, number)})
            body = {**self.fields, "messages": messages}
            yield orjson.dumps({"custom_id": f"row-{number}", "method": "POST", "url": CHAT_PATH, "body": body}) + b"\n"

    def _filled(self, template: "list[tuple[str, str | None]]", row: Row, number: int) -> str:
        try:
            return "".join(text + ("" if name is None else _text(row[name])) for text, name in template)
        except KeyError as exc:
            raise InvalidRequest(f"{self.table.path}: row {number} has no {exc.args[0]!r}, which the prompt names") from exc


def _parsed(template: str) -> list[tuple[str, str | None]]:
    """Split a template into texts, each with the column that follows it."""
    return [(text, name) for text, name, _, _ in Formatter().parse(template)]


def _columns_of(template: str, option: str) -> list[str]:
    try:
        parts = list(Formatter().parse(template))
    except ValueError as exc:
        raise InvalidRequest(f"{option}: {exc}; write {{{{ and }}}} for braces themselves") from exc
    for _, name, shape, conversion in parts:
        if name is not None and (not name or shape or conversion):
            raise InvalidRequest(
                f"{option}: braces hold a column's name and nothing else; write {{{{ and }}}} for braces themselves"
            )
    return [name for _, name, _, _ in parts if name]


def _text(value: Any) -> str:
    """Return a value of a row as it stands in a prompt: text as it is, nothing for null, the rest as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()
