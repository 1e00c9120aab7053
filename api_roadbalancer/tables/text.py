"""Reads tables row by row: CSV and TSV with a header, JSON lines, and plain text, each also compressed by gzip."""

import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from jobs.errors import InvalidRequest

__all__ = ["Row", "Table", "is_table"]

Row = dict[str, Any]
SEPARATORS = {".csv": ",", ".tsv": "\t"}
TEXT_COLUMN = "text"
"""The one column of a text file, which has a row on each line."""
LONGEST_FIELD = 64 * 1024 * 1024
"""Characters of a single field of a CSV file."""


def is_table(path: Path) -> bool:
    """Whether a file's name says that it holds rows, and not requests."""
    return _suffix(path) in (*SEPARATORS, ".txt")


class Table:
    """A file of rows, which may be read several times. Raises InvalidRequest, with the line, for what can't be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        csv.field_size_limit(LONGEST_FIELD)
        first = next(self.rows(), None)
        if first is None:
            raise InvalidRequest(f"{path} has no rows")
        self.columns = tuple(first)

    def rows(self) -> Iterator[Row]:
        """Yield the rows from the beginning."""
        opened = gzip.open if self.path.suffix == ".gz" else open
        try:
            with opened(self.path, "rb") as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
                yield from self._parsed(text)
        except UnicodeDecodeError as exc:
            raise InvalidRequest(f"{self.path} is not UTF-8 (byte {exc.start} of a block); save it as UTF-8") from exc
        except (gzip.BadGzipFile, EOFError) as exc:
            raise InvalidRequest(f"{self.path} is no whole gzip file: {exc}") from exc

    def _parsed(self, text: io.TextIOWrapper) -> Iterator[Row]:
        suffix = _suffix(self.path)
        if suffix in SEPARATORS:
            yield from self._separated(text, SEPARATORS[suffix])
        elif suffix == ".txt":
            yield from ({TEXT_COLUMN: line.rstrip("\r\n")} for line in text if line.strip())
        else:
            yield from self._objects(text)

    def _separated(self, text: io.TextIOWrapper, separator: str) -> Iterator[Row]:
        reader = csv.reader(text, delimiter=separator, strict=True)
        try:
            columns = next(reader, None)
            if columns is None:
                return
            if twice := {name for name in columns if columns.count(name) > 1}:
                raise InvalidRequest(f"{self.path}, line 1: the column {min(twice)!r} stands twice; give each its own name")
            for fields in reader:
                if not fields:
                    continue
                if len(fields) != len(columns):
                    counts = f"{len(fields)} fields, and the header {len(columns)}"
                    raise InvalidRequest(f"{self.path}, line {reader.line_num}: the row has {counts}")
                yield dict(zip(columns, fields, strict=True))
        except csv.Error as exc:
            raise InvalidRequest(f"{self.path}, line {reader.line_num}: {exc}") from exc

    def _objects(self, text: io.TextIOWrapper) -> Iterator[Row]:
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as exc:
                raise InvalidRequest(f"{self.path}, line {number}: is not JSON ({exc})") from exc
            if not isinstance(row, dict):
                raise InvalidRequest(f"{self.path}, line {number}: is no JSON object, which a row has to be")
            yield row


def _suffix(path: Path) -> str:
    return Path(path.stem if path.suffix == ".gz" else path.name).suffix.lower()
