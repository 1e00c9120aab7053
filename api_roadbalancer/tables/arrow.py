"""Tables in Arrow's formats: Parquet and Arrow (Feather) files, and tables in memory."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

from api_roadbalancer.tables.table import ROWS_AT_ONCE, Row, Table
from api_roadbalancer.user_files.extra import pyarrow
from api_roadbalancer.user_files.local_files import digest_of
from jobs.errors import InvalidRequest

__all__ = ["ARROW_SUFFIXES", "ArrowFileTable", "ArrowRows", "ArrowTable"]

ARROW_SUFFIXES = (".parquet", ".arrow", ".feather")


class ArrowRows(Sequence[Row]):
    """A group of rows that are a record batch, made into objects when they are asked for."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch
        self._rows: list[Row] | None = None

    @property
    def rows(self) -> list[Row]:
        """The rows as objects."""
        if self._rows is None:
            self._rows = self.batch.to_pylist()
        return self._rows

    def values(self, column: str) -> list[Any]:
        """Return one column's values."""
        return list(self.batch.column(column).to_pylist())

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        return self.rows[index]


class ArrowTable(Table):
    """A `pyarrow.Table` in memory."""

    def __init__(self, table: Any, name: str = "the table") -> None:
        self._table = table
        self.name = name
        self.schema = table.schema
        self.columns = _columns(table.schema, name)
        if not table.num_rows:
            raise InvalidRequest(f"{name} has no rows")

    def groups(self, columns: Collection[str] | None = None) -> Iterator[Sequence[Row]]:
        table = self._table if columns is None else self._table.select([name for name in self.columns if name in columns])
        yield from map(ArrowRows, table.to_batches(max_chunksize=ROWS_AT_ONCE))

    def digest(self) -> str:
        import hashlib

        digest = hashlib.blake2b(str(self.schema).encode(), digest_size=16)
        for batch in self._table.to_batches(max_chunksize=ROWS_AT_ONCE):
            digest.update(batch.serialize())
        return digest.hexdigest()


class ArrowFileTable(Table):
    """A Parquet or Arrow file, read in batches. Raises InvalidRequest for what can't be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        pyarrow(path.suffix)
        with self._readable() as file:
            self.schema = file.schema_arrow if path.suffix == ".parquet" else file.schema
        self.columns = _columns(self.schema, self.name)
        if next(self.groups(self.columns[:1]), None) is None:
            raise InvalidRequest(f"{path} has no rows")

    def groups(self, columns: Collection[str] | None = None) -> Iterator[Sequence[Row]]:
        wanted = [name for name in self.columns if columns is None or name in columns]
        with self._readable() as file:
            for batch in self._batches(file, wanted):
                if batch.num_rows:
                    yield ArrowRows(batch)

    def _batches(self, file: Any, wanted: list[str]) -> Iterator[Any]:
        if self.path.suffix == ".parquet":
            yield from file.iter_batches(batch_size=ROWS_AT_ONCE, columns=wanted, use_threads=False)
            return
        for number in range(file.num_record_batches):
            batch = file.get_batch(number).select(wanted)
            yield from (batch.slice(start, ROWS_AT_ONCE) for start in range(0, batch.num_rows, ROWS_AT_ONCE))

    def digest(self) -> str:
        return digest_of(self.path)

    @contextmanager
    def _readable(self) -> Iterator[Any]:
        arrow = pyarrow(self.path.suffix)
        try:
            if self.path.suffix == ".parquet":
                import pyarrow.parquet as parquet

                with parquet.ParquetFile(self.path, pre_buffer=False) as file:
                    yield file
            else:
                with arrow.memory_map(str(self.path)) as source:
                    yield arrow.ipc.open_file(source)
        except arrow.ArrowInvalid as exc:
            raise InvalidRequest(f"{self.path} is no {self.path.suffix[1:]} file that can be read: {exc}") from exc


def _columns(schema: Any, name: str) -> tuple[str, ...]:
    columns = tuple(schema.names)
    if twice := {column for column in columns if columns.count(column) > 1}:
        raise InvalidRequest(f"{name}: the column {min(twice)!r} stands twice; give each its own name")
    return columns
