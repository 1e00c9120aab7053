"""Rows of CSV, TSV, JSON lines and text, and what is said of files that hold none."""

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_roadbalancer.tables import Table, is_table
from jobs.errors import InvalidRequest


def table(folder: Path, name: str, content: str | bytes) -> Table:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Table(path)


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.csv", 'text,n\nHello,1\n"two\nlines, and ""quotes""",2\n', [("Hello", "1"), ('two\nlines, and "quotes"', "2")]),
        ("a.csv", "\ufefftext,n\r\nHello,1\r\n\r\n", [("Hello", "1")]),
        ("a.tsv", "text\tn\nHello, you\t1\n", [("Hello, you", "1")]),
        ("A.CSV", "text,n\n안녕,\n", [("안녕", "")]),
        ("a.jsonl", '{"text": "Hello", "n": 1}\n\n{"text": null, "n": [2]}', [("Hello", 1), (None, [2])]),
        ("a.csv.gz", gzip.compress(b"text,n\nHello,1\n", mtime=0), [("Hello", "1")]),
    ],
)
def test_rows_are_read_as_often_as_wanted(
    tmp_path: Path, name: str, content: str | bytes, rows: list[tuple[object, ...]]
) -> None:
    made = table(tmp_path, name, content)
    assert made.columns == ("text", "n")
    for _ in range(2):
        assert [tuple(row.values()) for row in made.rows()] == rows


def test_each_line_of_a_text_is_a_row(tmp_path: Path) -> None:
    made = table(tmp_path, "a.txt", "one\n\n  two  \r\nthree")
    assert [row["text"] for row in made.rows()] == ["one", "  two  ", "three"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "", "has no rows"),
        ("a.csv", "text,n\n", "has no rows"),
        ("a.csv", "text,n\na,1\nb\n", "line 3: the row has 1 fields, and the header 2"),
        ("a.csv", "text,text\na,1\n", "line 1: the column 'text' stands twice"),
        ("a.csv", 'text,n\n"a,1\n', "unexpected end of data"),
        ("a.csv", b"text\n\xff\xfe\n", "is not UTF-8"),
        ("a.csv.gz", b"text\nHello\n", "is no whole gzip file"),
        ("a.csv.gz", gzip.compress(b"text\n" + b"Hello\n" * 1000, mtime=0)[:-20], "is no whole gzip file"),
        ("a.jsonl", '{"text": "a"}\n{"text"', "line 2: is not JSON"),
        ("a.jsonl", '{"text": "a"}\n["b"]\n', "line 2: is no JSON object"),
    ],
)
def test_what_can_not_be_read_is_said_with_its_line(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        list(table(tmp_path, name, content).rows())


@pytest.mark.parametrize(
    ("name", "expected"), [("a.csv", True), ("a.tsv.gz", True), ("a.txt", True), ("a.jsonl", False), ("csv", False)]
)
def test_a_name_says_what_is_a_table(name: str, expected: bool) -> None:
    assert is_table(Path(name)) is expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), name=st.sampled_from(["a.csv", "a.tsv", "a.txt", "a.jsonl", "a.csv.gz"]))
def test_whatever_a_file_holds_it_is_rows_or_refused(tmp_path: Path, content: bytes, name: str) -> None:
    try:
        rows = list(table(tmp_path, name, content).rows())
    except InvalidRequest as exc:
        assert name in str(exc)
    else:
        assert rows and all(isinstance(row, dict) for row in rows)
