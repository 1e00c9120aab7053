"""Tables in files, by their names; several files of one format can be one table."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from glob import glob
from pathlib import Path

from api_roadbalancer.tables.arrow import ARROW_SUFFIXES, ArrowFileTable
from api_roadbalancer.tables.excel import EXCEL_SUFFIXES, ExcelTable
from api_roadbalancer.tables.table import Row, Table
from api_roadbalancer.tables.text import SEPARATORS, TextTable, suffix_of
from jobs.errors import InvalidRequest

__all__ = ["FilesTable", "is_pattern", "is_table", "open_table"]

TABLE_SUFFIXES = (*SEPARATORS, ".txt", ".json", *ARROW_SUFFIXES, *EXCEL_SUFFIXES)
READABLE = (*TABLE_SUFFIXES, ".jsonl")


def is_pattern(path: Path) -> bool:
    """Whether a path names several files by a pattern, such as `data/*.csv`."""
    return any(sign in str(path) for sign in "*?[") and not path.exists()


def is_table(path: Path) -> bool:
    """Whether a file's name says that it holds rows, and not requests."""
    return suffix_of(path) in TABLE_SUFFIXES or path.is_dir() or is_pattern(path)


def open_table(path: Path) -> Table:
    """Return the table in a file, or in all files of a folder or of a pattern. Raises InvalidRequest for what can't be read."""
    if path.is_dir():
        return FilesTable("folder", path, path.iterdir())
    if is_pattern(path):
        return FilesTable("pattern", path, map(Path, glob(str(path), recursive=True)))
    if not path.is_file():
        raise InvalidRequest(f"there is no file {path}")
    suffix = path.suffix.lower()
    if suffix == ".xls":
        raise InvalidRequest(f"{path}: workbooks of before Excel 2007 can't be read; save it as .xlsx")
    if suffix in EXCEL_SUFFIXES:
        return ExcelTable(path)
    return ArrowFileTable(path) if suffix in ARROW_SUFFIXES else TextTable(path)


class FilesTable(Table):
    """All of some files that have rows, in the order of their names. Their columns have to be the same."""

    def __init__(self, kind: str, name: Path, paths: Iterable[Path]) -> None:
        """`kind` and `name` are what messages call them together."""
        self.name = str(name)
        found = sorted(path for path in paths if path.is_file() and suffix_of(path) in READABLE)
        if not found:
            raise InvalidRequest(f"the {kind} {name} has no file of rows ({', '.join(READABLE)})")
        self._tables = [open_table(path) for path in found]
        self.columns = self._tables[0].columns
        for table in self._tables[1:]:
            if set(table.columns) != set(self.columns):
                raise InvalidRequest(f"{table.name} has other columns than {self._tables[0].name}: {', '.join(table.columns)}")

    def groups(self, columns: Collection[str] | None = None) -> Iterator[Sequence[Row]]:
        for table in self._tables:
            yield from table.groups(columns)

    def digest(self) -> str:
        content = "\n".join(f"{table.name} {table.digest()}" for table in self._tables)
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
