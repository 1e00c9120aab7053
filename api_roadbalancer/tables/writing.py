"""Writes rows with their answers as separated values, JSON lines or Parquet."""

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from api_roadbalancer.tables.answers import ANSWER_COLUMNS, VECTOR_COLUMNS, answered_groups, with_vectors
from api_roadbalancer.tables.arrow import ArrowRows
from api_roadbalancer.tables.table import Row, Table
from api_roadbalancer.tables.text import SEPARATORS
from api_roadbalancer.user_files.extra import pyarrow
from jobs.errors import InvalidRequest

__all__ = ["is_table_output", "table_chunks"]

PARQUET = ".parquet"
GROUP_ROWS, GROUP_BYTES = 65_536, 4 * 1024 * 1024
"""Of a row group of a Parquet file, about."""


def is_table_output(path: Path) -> bool:
    """Whether a file's name says that it is to hold rows."""
    return path.suffix.lower() in (*SEPARATORS, PARQUET)


async def table_chunks(
    table: Table,
    path: Path,
    job_id: str,
    output: AsyncIterator[bytes] | None,
    errors: AsyncIterator[bytes] | None,
    embeds: bool = False,
) -> AsyncIterator[bytes]:
    """Yield the file of rows with their answers, in the order of the input, in the format that `path` says: separated values,
    Parquet, else a JSON object a line. `output` and `errors` are the job's files; `embeds`: embeddings were asked for. Memory: a
    few thousand rows."""
    format_ = _format_of(table, path, VECTOR_COLUMNS if embeds else ANSWER_COLUMNS)
    async for rows, answers in answered_groups(table, job_id, output, errors):
        yield format_.rows(rows, with_vectors(answers) if embeds else answers)
    yield format_.end()


def _format_of(table: Table, path: Path, added: Mapping[str, type]) -> "_Format":
    suffix = path.suffix.lower()
    if suffix in SEPARATORS:
        return _Separated(table, SEPARATORS[suffix], added)
    return _Parquet(table, added) if suffix == PARQUET else _JsonLines()


class _Format(ABC):
    @abstractmethod
    def rows(self, rows: Sequence[Row], answers: Sequence[Row]) -> bytes:
        """Return the bytes of some rows, and of what stands before them."""

    def end(self) -> bytes:
        """Return what stands after the last row."""
        return b""


class _JsonLines(_Format):
    def rows(self, rows: Sequence[Row], answers: Sequence[Row]) -> bytes:
        joined = [orjson.dumps(row | answer, default=str) for row, answer in zip(rows, answers, strict=True)]
        return b"\n".join([*joined, b""])


class _Separated(_Format):
    def __init__(self, table: Table, separator: str, added: Mapping[str, type]) -> None:
        self._columns = table.columns
        self._added = added
        self._separator = separator
        self._has_header = False

    def rows(self, rows: Sequence[Row], answers: Sequence[Row]) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self._separator, lineterminator="\n")
        if not self._has_header:
            self._has_header = True
            writer.writerow((*self._columns, *self._added))
        writer.writerows(
            [*(_cell(row.get(name)) for name in self._columns), *(_cell(answer[name]) for name in self._added)]
            for row, answer in zip(rows, answers, strict=True)
        )
        return text.getvalue().encode()


def _cell(value: Any) -> Any:
    return orjson.dumps(value, default=str).decode() if isinstance(value, dict | list) else value


class _Parquet(_Format):
    """Parquet, written in pieces. Columns of Arrow data keep their types; others have that of all their values, or hold JSON."""

    def __init__(self, table: Table, columns: Mapping[str, type]) -> None:
        self._arrow = pyarrow(PARQUET)
        import pyarrow.parquet as parquet

        types = {str: self._arrow.string(), int: self._arrow.int64(), float: self._arrow.float64(), bool: self._arrow.bool_()}
        types[list] = self._arrow.list_(self._arrow.float32())
        added = self._arrow.schema([(name, types[kind]) for name, kind in columns.items()])
        schema = getattr(table, "schema", None)
        if schema is None:
            schema = self._arrow.schema([(name, types[kind]) for name, kind in _types_of(table).items()])
        self._schema = self._arrow.unify_schemas([schema, added])
        self._added = added
        self._file = _Drained()
        self._writer = parquet.ParquetWriter(self._file, self._schema)
        self._held: list[Any] = []
        self._size = self._count = 0

    def rows(self, rows: Sequence[Row], answers: Sequence[Row]) -> bytes:
        beside = self._arrow.RecordBatch.from_pylist(list(answers), self._added)
        if isinstance(rows, ArrowRows):
            batch = self._arrow.RecordBatch.from_arrays([*rows.batch.columns, *beside.columns], schema=self._schema)
        else:
            columns = [self._column(rows, field) for field in list(self._schema)[: -len(self._added)]]
            batch = self._arrow.RecordBatch.from_arrays([*columns, *beside.columns], schema=self._schema)
        self._held.append(batch)
        self._count += batch.num_rows
        self._size += batch.nbytes
        return self._write_group() if self._count >= GROUP_ROWS or self._size >= GROUP_BYTES else b""

    def _write_group(self) -> bytes:
        """Write what is held as one row group: each costs memory until the end, and readers time."""
        if self._held:
            self._writer.write_table(self._arrow.Table.from_batches(self._held, self._schema), row_group_size=GROUP_ROWS)
        self._held.clear()
        self._size = self._count = 0
        return self._file.drain()

    def _column(self, rows: Sequence[Row], field: Any) -> Any:
        values = [row.get(field.name) for row in rows]
        if self._arrow.types.is_string(field.type):
            values = [value if value is None or isinstance(value, str) else _json(value) for value in values]
        try:
            return self._arrow.array(values, field.type)
        except (self._arrow.ArrowInvalid, OverflowError) as exc:
            raise InvalidRequest(f"the column {field.name!r} does not fit into Parquet ({exc}); write .jsonl or .csv") from exc

    def end(self) -> bytes:
        content = self._write_group()
        self._writer.close()
        return content + self._file.drain()


def _types_of(table: Table) -> dict[str, type]:
    """Read all rows for the type of each column: that of all its values (whole numbers may be among others), else text."""
    found: dict[str, set[type]] = {name: set() for name in table.columns}
    for row in table.rows():
        for name, value in row.items():
            if name in found and value is not None:
                found[name].add(type(value))
    return {name: _common(types) for name, types in found.items()}


def _common(types: set[type]) -> type:
    if len(types) == 1 and (only := next(iter(types))) in (bool, int, float):
        return only
    return float if types == {int, float} else str


def _json(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()


class _Drained(io.RawIOBase):
    """A file that is written to, and whose bytes are taken away as they come."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._position += len(piece)
        return len(piece)

    def drain(self) -> bytes:
        """Return what was written since the last time."""
        content = b"".join(self._pieces)
        self._pieces.clear()
        return content
