"""Rows with their answers."""

import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api_roadbalancer.tables import ANSWER_COLUMNS, Table, check_columns, open_table, table_chunks
from balancer.outcome import Outcome
from jobs.errors import InvalidRequest
from jobs.results.formats import answer_line, error_line
from jobs.results.history import LineHistory

JOB = "batch_0123456789abcdef0123456789abcdef"


def answer(number: int, text: str) -> bytes:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    body = {"model": "m", "choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}
    outcome = Outcome("gpu1", 0.1, 200, orjson.dumps(body), cost=0.25)
    return answer_line(JOB, number, f"row-{number + 1}", outcome, LineHistory(attempts=2)) + b"\n"


async def pieces(content: bytes, size: int = 7) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "one", "n": {"a": 1}}\n{"text": "two"}\n{"text": "three", "n": 3}\n{"text": "four", "n": 4}\n')
    return open_table(path)


async def written(table: Table, name: str) -> bytes:
    output = answer(0, 'said "one",\nthen more') + answer(3, "said four")
    refused = Outcome("a", 0.1, 400, b'{"error": {"message": "too long"}}')
    errors = answer_line(JOB, 1, "row-2", refused) + b"\n"
    chunks = table_chunks(table, Path(name), JOB, pieces(output), pieces(errors))
    return b"".join([chunk async for chunk in chunks])


async def test_a_csv_has_all_columns_of_the_input_and_those_of_the_answer(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO((await written(table, "out.csv")).decode())))
    assert list(rows[0]) == ["text", "n", *ANSWER_COLUMNS]
    assert [row["text"] for row in rows] == ["one", "two", "three", "four"]
    assert [row["answer"] for row in rows] == ['said "one",\nthen more', "", "", "said four"]
    assert [row["error"] for row in rows] == ["", "too long", "not answered", ""]
    assert (rows[0]["n"], rows[1]["n"], rows[0]["prompt_tokens"], rows[0]["model"]) == ('{"a":1}', "", "3", "m")


async def test_flat_json_lines_keep_the_types_of_the_input(table: Table) -> None:
    rows = [orjson.loads(line) for line in (await written(table, "out.jsonl")).splitlines()]
    assert rows[0] == {
        "text": "one",
        "n": {"a": 1},
        "answer": 'said "one",\nthen more',
        "error": None,
        "finish_reason": "stop",
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "cost": 0.25,
        "endpoint": "gpu1",
        "model": "m",
        "attempts": 2,
    }
    assert (rows[1]["answer"], rows[1]["error"], rows[3]["answer"]) == (None, "too long", "said four")
    assert (rows[1]["endpoint"], rows[1]["cost"], rows[1]["attempts"]) == ("a", None, 0)


async def test_a_job_without_answers_has_rows_all_the_same(table: Table) -> None:
    errors = error_line(JOB, 2, "row-3", "timeout", "no answer in time") + b"\n"
    chunks = table_chunks(table, Path("out.jsonl"), JOB, None, pieces(errors))
    rows = [orjson.loads(line) for line in b"".join([chunk async for chunk in chunks]).splitlines()]
    assert [row["error"] for row in rows] == ["not answered", "not answered", "no answer in time", "not answered"]


def test_a_column_with_the_name_of_one_of_an_answer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,answer\na,b\n")
    with pytest.raises(InvalidRequest, match="has a column 'answer'"):
        check_columns(open_table(path))


async def test_a_parquet_keeps_the_types_of_arrow_data(tmp_path: Path) -> None:
    when = pa.array([1_700_000_000, None, 3, 4], pa.timestamp("s"))
    source = pa.table({"when": when, "tags": [["a"], [], None, ["b", "c"]], "n": pa.array([1, 2, 3, 4], pa.int8())})
    path = tmp_path / "rows.parquet"
    pq.write_table(source, path)
    made = pq.read_table(pa.BufferReader(await written(open_table(path), "out.parquet")))
    assert made.select(source.column_names).equals(source.cast(pq.read_schema(path)))
    assert made.column("answer").to_pylist() == ['said "one",\nthen more', None, None, "said four"]
    assert made.column("attempts").type == pa.int64() and made.column("cost").to_pylist() == [0.25, None, None, 0.25]


async def test_a_parquet_of_json_rows_has_the_types_of_all_their_values(tmp_path: Path) -> None:
    rows = [{"i": 1, "f": 1, "s": "x", "b": True, "m": 1}, {"f": 1.5}, {"m": "two", "i": None}, {"b": False, "m": {"a": 1}}]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    made = pq.read_table(pa.BufferReader(await written(open_table(path), "out.parquet")))
    assert made.select(["i", "f", "s", "b", "m"]).to_pydict() == {
        "i": [1, None, None, None],
        "f": [1.0, 1.5, None, None],
        "s": ["x", None, None, None],
        "b": [True, None, None, False],
        "m": ["1", None, "two", '{"a":1}'],
    }
    path.write_bytes(orjson.dumps({"i": 2**63}))
    with pytest.raises(InvalidRequest, match="the column 'i' does not fit into Parquet"):
        await written(open_table(path), "out.parquet")
