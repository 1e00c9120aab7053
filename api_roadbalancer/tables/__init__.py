"""Tables in and out: rows become requests on their way into a job, and answers stand beside their rows on their way out."""

from api_roadbalancer.tables.answers import ANSWER_COLUMNS, check_columns, is_table_output, table_chunks
from api_roadbalancer.tables.reading import Table, is_table
from api_roadbalancer.tables.requests import RowRequests

__all__ = ["ANSWER_COLUMNS", "RowRequests", "Table", "check_columns", "is_table", "is_table_output", "table_chunks"]
