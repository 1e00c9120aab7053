"""Tables in and out: rows become requests on their way into a job, and answers stand beside their rows on their way out."""

from api_roadbalancer.tables.answers import (
    ANSWER_COLUMNS,
    VECTOR_COLUMNS,
    answer_of,
    answered_groups,
    check_columns,
    with_vectors,
)
from api_roadbalancer.tables.files import is_pattern, is_table, open_table
from api_roadbalancer.tables.memory import table_of
from api_roadbalancer.tables.requests import RowRequests
from api_roadbalancer.tables.table import Row, Table
from api_roadbalancer.tables.writing import is_table_output, table_chunks

__all__ = [
    "ANSWER_COLUMNS",
    "VECTOR_COLUMNS",
    "Row",
    "RowRequests",
    "Table",
    "answer_of",
    "answered_groups",
    "check_columns",
    "is_pattern",
    "is_table",
    "is_table_output",
    "open_table",
    "table_chunks",
    "table_of",
    "with_vectors",
]
