"""Tables in a program's memory: data frames, Arrow tables, data sets, lists of rows or of texts."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from api_roadbalancer.tables.arrow import ArrowTable
from api_roadbalancer.tables.files import open_table
from api_roadbalancer.tables.table import Row, Table, in_groups
from api_roadbalancer.tables.text import TEXT_COLUMN
from jobs.errors import InvalidRequest

__all__ = ["RowList", "table_of"]


class RowList(Table):
    """Rows in a list. Their columns are those of all of them, in the order in which they come."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], name: str = "the rows") -> None:
        self.name = name
        self._rows = [dict(row) for row in rows]
        self.columns = tuple(dict.fromkeys(column for row in self._rows for column in row))
        if not self._rows:
            raise InvalidRequest(f"{name} are empty")

    def groups(self, columns: Collection[str] | None = None) -> Iterator[Sequence[Row]]:
        return in_groups(self._rows)

    def digest(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for row in self._rows:
            digest.update(orjson.dumps(row, default=str, option=orjson.OPT_NON_STR_KEYS) + b"\n")
        return digest.hexdigest()


def table_of(data: Any) -> Table:
    """Return the table that `data` is: a path; a pandas or polars data frame; a `pyarrow.Table`; a data set of Hugging Face's; or
    any iterable of mappings, or of texts, which are rows with the one column `text`. Raises InvalidRequest for anything else.
    """
    if isinstance(data, str | Path):
        return open_table(Path(data))
    module = type(data).__module__.partition(".")[0]
    if module == "pyarrow":
        return ArrowTable(data)
    if module == "pandas":
        return _of_pandas(data)
    if module == "polars":
        return RowList(data.rows(named=True), "the data frame") if hasattr(data, "rows") else _of_items(data.to_list())
    if isinstance(data, Mapping) or not isinstance(data, Iterable):
        raise InvalidRequest(f"rows can't be taken from {type(data).__name__}; give a path, a data frame or a list")
    return _of_items(list(data))


def _of_pandas(data: Any) -> Table:
    if not hasattr(data, "columns"):
        return _of_items(data.tolist())
    if not all(isinstance(name, str) for name in data.columns):
        raise InvalidRequest("the columns of the data frame need names that are text")
    missing = data.isna()
    rows = data.astype(object).where(~missing, None).to_dict("records")
    return RowList(rows, "the data frame")


def _of_items(items: list[Any]) -> Table:
    if all(isinstance(item, str) for item in items):
        return RowList([{TEXT_COLUMN: item} for item in items])
    for number, item in enumerate(items, 1):
        if not isinstance(item, Mapping):
            raise InvalidRequest(f"row {number} is a {type(item).__name__}; rows are mappings of columns, or all of them text")
    return RowList(items)
