"""Rows of CSV, TSV, JSON lines and text, and what is said of files that hold none."""

import gzip
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_roadbalancer.tables import Table, is_table, open_table
from jobs.errors import InvalidRequest


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def parquet(columns: dict[str, Any]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


def arrow(columns: dict[str, Any]) -> bytes:
    sink, made = pa.BufferOutputStream(), pa.table(columns)
    with pa.ipc.new_file(sink, made.schema) as writer:
        writer.write_table(made)
    return bytes(sink.getvalue())


def table(folder: Path, name: str, content: str | bytes) -> Table:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_table(path)


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.csv", 'text,n\nHello,1\n"two\nlines, and ""quotes""",2\n', [("Hello", "1"), ('two\nlines, and "quotes"', "2")]),
        ("a.csv", "\ufefftext,n\r\nHello,1\r\n\r\n", [("Hello", "1")]),
        ("a.tsv", "text\tn\nHello, you\t1\n", [("Hello, you", "1")]),
        ("A.CSV", "text,n\n안녕,\n", [("안녕", "")]),
        ("a.jsonl", '{"text": "Hello", "n": 1}\n\n{"text": null, "n": [2]}', [("Hello", 1), (None, [2])]),
        ("a.csv.gz", gzip.compress(b"text,n\nHello,1\n", mtime=0), [("Hello", "1")]),
        ("a.csv.zst", zstd(b"text,n\nHello,1\n"), [("Hello", "1")]),
        ("a.json", '[{"text": "Hello", "n": 1},\n {"text": null, "n": 2}]', [("Hello", 1), (None, 2)]),
        ("a.parquet", parquet({"text": ["Hello", None], "n": [1, 2]}), [("Hello", 1), (None, 2)]),
        ("a.arrow", arrow({"text": ["Hello", None], "n": [1, 2]}), [("Hello", 1), (None, 2)]),
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
        ("a.jsonl", '[\n{"text": "a"}\n]', "is it a JSON array\\? name it .json"),
        ("a.json", '{"text": "a"}\n{"text": "b"}\n', "is it an object a line\\? name it .jsonl"),
        ("a.json", '{"text": "a"}', "holds no JSON array of rows"),
        ("a.json", '[{"text": "a"}, 7]', "row 2: is no JSON object"),
        ("a.json", "", "has no rows"),
        ("a.csv.zst", zstd(b"text\n" + bytes(range(32, 127)) * 100)[:-20], "is no whole zstd file"),
        ("a.parquet", b"PAR1 and no more", "is no parquet file that can be read"),
        ("a.parquet", parquet({"text": pa.array([], pa.string())}), "has no rows"),
        ("a.arrow", b"text,n", "is no arrow file that can be read"),
    ],
)
def test_what_can_not_be_read_is_said_with_its_line(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        list(table(tmp_path, name, content).rows())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.csv", True), ("a.tsv.gz", True), ("a.txt", True), ("a.parquet", True), ("a.jsonl", False), ("csv", False)],
)
def test_a_name_says_what_is_a_table(name: str, expected: bool) -> None:
    assert is_table(Path(name)) is expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=200),
    name=st.sampled_from(["a.csv", "a.tsv", "a.txt", "a.jsonl", "a.csv.gz", "a.json", "a.parquet", "a.csv.zst"]),
)
def test_whatever_a_file_holds_it_is_rows_or_refused(tmp_path: Path, content: bytes, name: str) -> None:
    try:
        rows = list(table(tmp_path, name, content).rows())
    except InvalidRequest as exc:
        assert name in str(exc)
    else:
        assert rows and all(isinstance(row, dict) for row in rows)


def test_the_files_of_a_folder_are_one_table(tmp_path: Path) -> None:
    table(tmp_path, "b.csv", "text,n\nthree,3\n")
    table(tmp_path, "a.jsonl", '{"n": 1, "text": "one"}\n{"n": 2, "text": "two"}\n')
    (tmp_path / "notes.md").write_text("no rows")
    made = open_table(tmp_path)
    assert [row["text"] for row in made.rows()] == ["one", "two", "three"]
    table(tmp_path, "c.csv", "other\nx\n")
    with pytest.raises(InvalidRequest, match=r"c.csv has other columns than .*a.jsonl: other"):
        open_table(tmp_path)


def test_the_files_of_a_pattern_are_one_table(tmp_path: Path) -> None:
    table(tmp_path, "b.csv", "text\nthree\n")
    table(tmp_path, "a.csv", "text\none\n")
    table(tmp_path, "other.txt", "no row\n")
    pattern = tmp_path / "[ab]*.csv"
    assert is_table(pattern) and [row["text"] for row in open_table(pattern).rows()] == ["one", "three"]
    with pytest.raises(InvalidRequest, match=r"the pattern .*\*.tsv has no file of rows"):
        open_table(tmp_path / "*.tsv")
    odd = table(tmp_path, "what[1].csv", "text\none\n")
    assert odd.columns == ("text",), "a file whose own name has such signs is that file"


def test_a_folder_without_rows_is_refused_with_what_it_could_have(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"has no file of rows \(.csv, .tsv"):
        open_table(tmp_path)


def test_only_the_columns_that_are_needed_are_read(tmp_path: Path) -> None:
    made = table(tmp_path, "a.parquet", parquet({"text": ["a"], "large": ["x" * 100]}))
    assert [list(group) for group in made.groups(["text"])] == [[{"text": "a"}]]


def test_a_format_that_needs_pyarrow_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet({"text": ["a"]}))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InvalidRequest, match=r"needs pyarrow: pip install 'roadbalancer\[data\]'"):
        open_table(path)
