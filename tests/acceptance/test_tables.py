"""`run` over a table: a prompt for each row, and the answers beside the rows."""

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.acceptance.cluster import Cluster, ModelServer
from tests.acceptance.shell import Shell

ROWS = 'id,text\n1,"Hello, you"\n2,Good day\n3,안녕\n'
RUN = ("run", "in.csv", "--workers", "1", "--prompt", "Translate into Korean: {text}", "--field", "max_tokens=40")


@pytest.fixture
async def model(shell: Shell, tmp_path: Path) -> Any:
    cluster = Cluster(tmp_path)
    server = await cluster.start_model("m", latency=0.05)
    shell.environment["ROADBALANCER_STORE"] = "store"
    yield server
    cluster.end()


def read(shell: Shell, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((shell.folder / name).read_text())))


async def test_a_csv_gets_a_column_of_answers_and_is_not_asked_twice(shell: Shell, model: ModelServer) -> None:
    shell.write("in.csv", ROWS)
    ended = shell(*RUN, "--endpoint", model.url, "-o", "out.csv")
    assert ended.returncode == 0, ended.stderr
    assert "3 of 3 lines completed" in ended.stderr
    rows = read(shell, "out.csv")
    assert [(row["id"], row["text"]) for row in rows] == [("1", "Hello, you"), ("2", "Good day"), ("3", "안녕")]
    assert all(f"Translate into Korean: {row['text']}" in row["answer"] for row in rows)
    assert {row["error"] for row in rows} == {""} and {row["finish_reason"] for row in rows} == {"stop"}
    assert "is done already" in shell(*RUN, "--endpoint", model.url, "-o", "out.csv").stderr
    assert model.stats["requests"] == 3
    other = shell("run", "in.csv", "--prompt", "Shout: {text}", "--endpoint", model.url, "-o", "out.csv")
    assert other.returncode == 2 and "out.csv exists and does not hold results of this job" in other.stderr
    assert model.stats["requests"] == 3, "another prompt is another job, and the file is of the first"


async def test_rows_may_come_out_as_flat_json_or_in_openais_format(shell: Shell, model: ModelServer) -> None:
    shell.write("in.csv", ROWS)
    assert shell(*RUN, "--endpoint", model.url, "-o", "flat.jsonl", "--plain").returncode == 0
    assert [row["id"] for row in shell.rows("flat.jsonl")] == ["1", "2", "3"]
    assert shell(*RUN, "--endpoint", model.url, "-o", "openai.jsonl").returncode == 0
    assert [row["custom_id"] for row in shell.rows("openai.jsonl")] == ["row-1", "row-2", "row-3"]
    assert shell(*RUN, "--endpoint", model.url).returncode == 0
    assert [row["id"] for row in read(shell, "in.answers.csv")] == ["1", "2", "3"]


async def test_parquet_goes_in_and_comes_out(shell: Shell, model: ModelServer) -> None:
    rows = pa.table({"id": [3, 1, 2], "text": ["Hello", "Good day", "안녕"]})
    pq.write_table(rows, shell.folder / "in.parquet")
    arguments = (
        "run",
        "in.parquet",
        "--workers",
        "1",
        "--prompt",
        "Say {text}",
        "--endpoint",
        model.url,
        "-o",
        "answers.parquet",
    )
    ended = shell(*arguments)
    assert ended.returncode == 0, ended.stderr
    made = pq.read_table(shell.folder / "answers.parquet")
    assert made.select(["id", "text"]).equals(rows)
    assert all(f"Say {text}" in answer for text, answer in zip(*(made[n].to_pylist() for n in ("text", "answer")), strict=True))
    assert set(made["attempts"].to_pylist()) == {1} and len(set(made["endpoint"].to_pylist())) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "in.csv"), "in.csv is a table; say what to ask about a row, such as --prompt"),
        (("run", "in.csv", "--prompt", "{txt}"), "--prompt names {txt}, which is no column of in.csv; there are: id, text"),
        ((*RUN, "--field", "max_tokens"), "--field max_tokens: write NAME=VALUE"),
        (("run", "in.jsonl", "--plain"), "--plain goes with --prompt"),
        (("run", "in.jsonl", "-o", "out.csv"), "out.csv: rows come out where rows go in"),
        ((*RUN, "-o", "out.xlsx"), "out.xlsx: results are written as .jsonl, and the rows of a table as .csv, .tsv, .parquet"),
        (("run", "-", "--prompt", "{text}"), "standard input has no name to call the results by"),
        (("run", "folder", "--prompt", "{text}"), "the folder folder has no file of rows"),
        ((*RUN, "-o", "out.csv", "--plain"), "out.csv: --plain is for a .jsonl file"),
        (("run", "in.jsonl", "--system", "x"), "--system, --field and --image-column go with --prompt"),
    ],
)
async def test_what_does_not_fit_together_is_refused_before_anything_is_sent(
    shell: Shell, arguments: tuple[str, ...], said: str
) -> None:
    shell.write("in.csv", ROWS)
    shell.write("in.jsonl", '{"prompt": "Hi"}\n')
    (shell.folder / "folder").mkdir()
    ended = shell(*arguments)
    assert ended.returncode == 2
    assert said in ended.stderr
