"""Puts answers beside their rows: each column of the input, and those of the answer."""

import asyncio
import base64
from array import array
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import orjson

from api_roadbalancer.tables.table import Row, Table
from jobs.errors import InvalidRequest
from jobs.results.formats import line_number
from jobs.storage.byte_streams import lines_of

__all__ = ["ANSWER_COLUMNS", "VECTOR_COLUMNS", "answer_of", "answered_groups", "check_columns", "with_vectors"]

ANSWER_COLUMNS: dict[str, type] = {
    "answer": str,
    "error": str,
    "finish_reason": str,
    "prompt_tokens": int,
    "completion_tokens": int,
    "cost": float,
    "endpoint": str,
    "model": str,
    "attempts": int,
}
"""What stands beside each row, and of which type it is where it is not None."""
VECTOR_COLUMNS: dict[str, type] = {("embedding" if name == "answer" else name): kind for name, kind in ANSWER_COLUMNS.items()}
VECTOR_COLUMNS["embedding"] = list
"""The same where embeddings were asked for: of 32-bit floats."""


def check_columns(table: Table, columns: Collection[str] = tuple(ANSWER_COLUMNS)) -> None:
    """Raise InvalidRequest if a column of the input has the name of one of an answer (`columns`)."""
    for name in columns:
        if name in table.columns:
            raise InvalidRequest(f"{table.name} has a column {name!r}, which the output has for the answers; rename it")


async def answered_groups(
    table: Table, job_id: str, output: AsyncIterator[bytes] | None, errors: AsyncIterator[bytes] | None
) -> AsyncIterator[tuple[Sequence[Row], list[Row]]]:
    """Yield groups of rows with the columns of their answers, in the order of the input. `output` and `errors` are the job's
    files. Memory: a few thousand rows."""
    answered, failed = _Lines(job_id, output), _Lines(job_id, errors)
    groups, number = table.groups(), 0
    while (rows := await asyncio.to_thread(next, groups, None)) is not None:
        answers = []
        for _ in range(len(rows)):
            answers.append(answer_of(await answered.at(number) or await failed.at(number)))
            number += 1
        yield rows, answers


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


def answer_of(line: bytes | None) -> Row:
    """Return the columns of an answer; those that it does not have are None."""
    found: Row = dict.fromkeys(ANSWER_COLUMNS)
    if line is None:
        found["error"] = "not answered"
        return found
    entry = orjson.loads(line)
    found |= {name: entry.get(name) for name in ("cost", "endpoint", "attempts")}
    body = (entry.get("response") or {}).get("body") or {}
    error = entry.get("error") or (body.get("error") if isinstance(body, dict) else None)
    if error is not None:
        found["error"] = str(error.get("message") or error.get("code") if isinstance(error, dict) else error)
        return found
    choice = (body.get("choices") or [{}])[0]
    usage = body.get("usage") or {}
    found["answer"] = _vector(body) or _text((choice.get("message") or {}).get("content"))
    found["finish_reason"] = _text(choice.get("finish_reason"))
    found["model"] = _text(body.get("model"))
    for name in ("prompt_tokens", "completion_tokens"):
        found[name] = usage.get(name) if isinstance(usage.get(name), int) else None
    return found


def with_vectors(answers: Sequence[Row]) -> list[Row]:
    """Return answers to requests for embeddings: the vector is the column `embedding`, in the place of `answer`."""
    return [{("embedding" if name == "answer" else name): value for name, value in answer.items()} for answer in answers]


def _vector(body: Row) -> list[float] | None:
    """Return the first embedding of an answer, None if it is an answer of another kind. In base64 it is 32-bit floats."""
    data = body.get("data")
    first = data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}
    vector = first.get("embedding")
    if isinstance(vector, str):
        return array("f", base64.b64decode(vector)).tolist()
    return vector if isinstance(vector, list) else None


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()
