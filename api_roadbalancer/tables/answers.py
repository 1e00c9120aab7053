"""Puts answers beside their rows: each column of the input, and those of the answer."""

import asyncio
import csv
import io
import itertools
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from api_roadbalancer.tables.reading import Row, Table
from jobs.errors import InvalidRequest
from jobs.results.formats import line_number
from jobs.storage.byte_streams import lines_of

__all__ = ["ANSWER_COLUMNS", "check_columns", "is_table_output", "table_chunks"]

ANSWER_COLUMNS = (
    "answer", "error", "finish_reason", "prompt_tokens", "completion_tokens", "cost", "endpoint", "model", "attempts",
)  # fmt: skip
SEPARATORS = {".csv": ",", ".tsv": "\t"}
ROWS_AT_ONCE = 1000


def is_table_output(path: Path) -> bool:
    """Whether a file's name says that it is to hold rows."""
    return path.suffix.lower() in SEPARATORS


def check_columns(table: Table) -> None:
    """Raise InvalidRequest if a column of the input has the name of one of an answer."""
    for name in ANSWER_COLUMNS:
        if name in table.columns:
            raise InvalidRequest(f"{table.path} has a column {name!r}, which the output has for the answers; rename it")


async def table_chunks(
    table: Table, path: Path, job_id: str, output: AsyncIterator[bytes] | None, errors: AsyncIterator[bytes] | None
) -> AsyncIterator[bytes]:
    """Yield the file of rows with their answers, in the order of the input: separated values if `path` says so, else a JSON
    object a line. `output` and `errors` are the job's files. Memory: a few thousand rows."""
    separator = SEPARATORS.get(path.suffix.lower())
    if separator:
        yield _separated([{name: name for name in _names(table)}], _names(table), separator)
    answered, failed = _Lines(job_id, output), _Lines(job_id, errors)
    rows, number = table.rows(), 0
    while batch := await asyncio.to_thread(lambda: list(itertools.islice(rows, ROWS_AT_ONCE))):
        joined = []
        for row in batch:
            line = await answered.at(number) or await failed.at(number)
            joined.append({**row, **_answer_of(line)})
            number += 1
        yield _separated(joined, _names(table), separator) if separator else b"".join(orjson.dumps(row) + b"\n" for row in joined)


class _Lines:
    """The lines of an output or error file, by their numbers, which rise."""

    def __init__(self, job_id: str, chunks: AsyncIterator[bytes] | None) -> None:
        self._job_id = job_id
        self._groups = lines_of(chunks) if chunks is not None else None
        self._held: deque[bytes] = deque()

    async def at(self, number: int) -> bytes | None:
        """Return the line of one number, None if it is not there; numbers are asked for in their order."""
        while not self._held and self._groups is not None:
            group = await anext(self._groups, None)
            if group is None:
                self._groups = None
            else:
                self._held.extend(group)
        if self._held and line_number(self._job_id, self._held[0]) == number:
            return self._held.popleft()
        return None


def _names(table: Table) -> Sequence[str]:
    return (*table.columns, *ANSWER_COLUMNS)


def _separated(rows: Sequence[Row], names: Sequence[str], separator: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator="\n")
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else value


def _answer_of(line: bytes | None) -> Row:
    """Return the columns of an answer; those that it does not have are None."""
    found: Row = dict.fromkeys(ANSWER_COLUMNS)
    if line is None:
        found["error"] = "not answered"
        return found
    entry = orjson.loads(line)
    found |= {name: entry.get(name) for name in ("cost", "endpoint", "attempts")}
    response = entry.get("response") or {}
    body = response.get("body") or {}
    error = entry.get("error") or (body.get("error") if isinstance(body, dict) else None)
    if error is not None:
        found["error"] = str(error.get("message") or error.get("code") if isinstance(error, dict) else error)
        return found
    choice = (body.get("choices") or [{}])[0]
    usage = body.get("usage") or {}
    found["answer"] = (choice.get("message") or {}).get("content")
    found["finish_reason"] = choice.get("finish_reason")
    found["prompt_tokens"] = usage.get("prompt_tokens")
    found["completion_tokens"] = usage.get("completion_tokens")
    found["model"] = body.get("model")
    return found
