"""Tables in Excel workbooks: the first sheet, with the names of the columns in its first row."""

import datetime
import warnings
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from api_roadbalancer.tables.table import Row, Table, in_groups
from api_roadbalancer.user_files.extra import openpyxl
from api_roadbalancer.user_files.local_files import digest_of
from jobs.errors import InvalidRequest

__all__ = ["EXCEL_SUFFIXES", "ExcelTable"]

EXCEL_SUFFIXES = (".xlsx", ".xlsm")


class ExcelTable(Table):
    """The rows of a workbook's first sheet; rows without any value are left out. Formulas count with the values that Excel saved.

    Memory: a row, and the texts that cells share. Raises InvalidRequest for what can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self._openpyxl = openpyxl(f"reading {path}")
        cells = self._cells()
        header = next(cells, None)
        cells.close()
        if header is None:
            raise InvalidRequest(f"{path} has no rows")
        while header and header[-1] is None:
            header = header[:-1]
        for number, name in enumerate(header, 1):
            if not isinstance(name, str) or not name.strip():
                raise InvalidRequest(f"{path}: cell {number} of the first row is no name of a column (it is {name!r})")
        self.columns = tuple(header)
        if repeated := next((name for name in header if header.count(name) > 1), None):
            raise InvalidRequest(f"{path}: two columns have the name {repeated!r}")
        if next(self.rows(), None) is None:
            raise InvalidRequest(f"{path} has no rows below the names of its columns")

    def groups(self, columns: Collection[str] | None = None) -> Iterator[Sequence[Row]]:
        return in_groups(self._rows())

    def digest(self) -> str:
        return digest_of(self.path)

    def _rows(self) -> Iterator[Row]:
        cells = self._cells()
        next(cells)
        for row in cells:
            values = [_plain(value) for value in row[: len(self.columns)]]
            if any(value is not None for value in values):
                yield dict(zip(self.columns, values, strict=False)) | dict.fromkeys(self.columns[len(values) :])

    def _cells(self) -> Generator[tuple[Any, ...], None, None]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of styles and extensions that it does not know
                workbook = self._openpyxl.load_workbook(self.path, read_only=True, data_only=True)
                with closing(workbook):
                    yield from workbook.worksheets[0].iter_rows(values_only=True)
        except (BadZipFile, KeyError, ValueError, self._openpyxl.utils.exceptions.InvalidFileException) as exc:
            raise InvalidRequest(f"{self.path} can't be read as an Excel workbook: {exc}") from exc


def _plain(value: Any) -> Any:
    """Return a cell's value as JSON can have it: dates as ISO 8601."""
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value
