"""What a table is: named columns, and rows that can be read several times in groups."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

__all__ = ["ROWS_AT_ONCE", "Row", "Table", "in_groups"]

Row = dict[str, Any]
ROWS_AT_ONCE = 1000
"""Rows that are read and written together; memory holds a few such groups."""


class Table(ABC):
    """Rows with the same columns. `name` is what messages call it."""

    name: str
    columns: tuple[str, ...]

    @abstractmethod
    def groups(self, columns: Collection[str] | None = None) -> Iterator[Sequence[Row]]:
        """Yield the rows from the beginning, in groups of at most ROWS_AT_ONCE; with `columns`, they need to have no others.

        Raises InvalidRequest, with the line, for what can't be read.
        """

    @abstractmethod
    def digest(self) -> str:
        """Return a digest of the content (BLAKE2b, hexadecimal): two tables with the same one have the same rows."""

    def rows(self) -> Iterator[Row]:
        """Yield the rows one by one."""
        return itertools.chain.from_iterable(self.groups())


def in_groups(rows: Iterable[Row]) -> Iterator[Sequence[Row]]:
    """Yield rows in groups of ROWS_AT_ONCE."""
    rows = iter(rows)
    while group := list(itertools.islice(rows, ROWS_AT_ONCE)):
        yield group
