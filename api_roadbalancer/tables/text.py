"""Tables in text files: CSV and TSV with a header, JSON, and plain text, each also compressed."""

import csv
import gzip
import io
import itertools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from api_roadbalancer.tables.table import Row, Table, in_groups
from api_roadbalancer.user_files.local_files import digest_of, open_plain
from jobs.errors import InvalidRequest

__all__ = ["SEPARATORS", "TEXT_COLUMN", "TextTable", "suffix_of"]

SEPARATORS = {".csv": ",", ".tsv": "\t"}
TEXT_COLUMN = "text"
"""The one column of a text file, which has a row on each line."""
LONGEST_FIELD = 64 * 1024 * 1024
"""Characters of a single field of a CSV file."""
LARGEST_ARRAY = 256 * 1024 * 1024
"""Bytes of a JSON array, which is read as a whole."""
COMPRESSED = (".gz", ".zst")


class TextTable(Table):
    """A text file of rows, by its name .csv, .tsv, .txt, .json (an array of objects) or else an object a line.

    Raises InvalidRequest, with the line, for what can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        csv.field_size_limit(LONGEST_FIELD)
        first = next(self._read(), None)
        if first is None:
            raise InvalidRequest(f"{path} has no rows")
        self.columns = tuple(first)

    def groups(self, columns: Collection[str] | None = None) -> Iterator[Sequence[Row]]:
        return in_groups(self._read())

    def digest(self) -> str:
        return digest_of(self.path)

    def _read(self) -> Iterator[Row]:
        try:
            with open_plain(self.path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
                yield from self._parsed(text)
        except UnicodeDecodeError as exc:
            raise InvalidRequest(f"{self.path} is not UTF-8 (byte {exc.start} of a block); save it as UTF-8") from exc
        except (gzip.BadGzipFile, EOFError) as exc:
            raise InvalidRequest(f"{self.path} is no whole gzip file: {exc}") from exc
        except OSError as exc:
            if self.path.suffix != ".zst" or exc.errno:
                raise
            raise InvalidRequest(f"{self.path} is no whole zstd file: {exc}") from exc

    def _parsed(self, text: io.TextIOWrapper) -> Iterator[Row]:
        suffix = suffix_of(self.path)
        if suffix in SEPARATORS:
            yield from self._separated(text, SEPARATORS[suffix])
        elif suffix == ".txt":
            yield from ({TEXT_COLUMN: line.rstrip("\r\n")} for line in text if line.strip())
        elif suffix == ".json":
            yield from self._array(text)
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
                hint = "; is it a JSON array? name it .json" if number == 1 and line.lstrip().startswith("[") else ""
                raise InvalidRequest(f"{self.path}, line {number}: is not JSON ({exc}){hint}") from exc
            yield self._row(row, f"line {number}")

    def _array(self, text: io.TextIOWrapper) -> Iterator[Row]:
        content = "".join(itertools.islice(iter(lambda: text.read(2**20), ""), LARGEST_ARRAY // 2**20 + 1))
        if len(content) > LARGEST_ARRAY:
            limit = f"{LARGEST_ARRAY // 2**20} MB"
            raise InvalidRequest(f"{self.path}: a JSON array may have {limit}; write an object a line (`jq -c '.[]'`) as .jsonl")
        try:
            entries = orjson.loads(content) if content.strip() else []
        except orjson.JSONDecodeError as exc:
            hint = "; is it an object a line? name it .jsonl" if exc.msg.startswith("unexpected content") else ""
            raise InvalidRequest(f"{self.path}, line {exc.lineno}: is not JSON ({exc.msg}){hint}") from exc
        if not isinstance(entries, list):
            raise InvalidRequest(f"{self.path} holds no JSON array of rows, which a .json file has to")
        yield from (self._row(entry, f"row {number}") for number, entry in enumerate(entries, 1))

    def _row(self, row: Any, place: str) -> Row:
        if not isinstance(row, dict):
            raise InvalidRequest(f"{self.path}, {place}: is no JSON object, which a row has to be")
        return row


def suffix_of(path: Path) -> str:
    """Return the format that a file's name says, without that of its compression."""
    return Path(path.stem if path.suffix in COMPRESSED else path.name).suffix.lower()
