"""`roadbalancer.run`, from a program."""

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import roadbalancer as rb
from tests.acceptance.cluster import ModelServer
from tests.waiting import until_blocking

PROMPT = "Describe {item} in a sentence."
SCRIPT = """
import sys
import roadbalancer as rb
rows = [{"item": f"thing {n}"} for n in range(int(sys.argv[2]))]
answers = rb.run(rows, prompt="Describe {item}.", endpoints=[sys.argv[1]], workers=1, progress=False)
print(answers, len(set(answers.text)), answers.errors)
"""


def ask(data: Any, server: ModelServer, **options: Any) -> rb.Answers:
    return rb.run(data, endpoints=[server.url], workers=1, progress=False, **options)


async def test_the_lines_of_the_documentation(model: ModelServer) -> None:
    df = pd.DataFrame({"item": ["lamp", "chair", "table"]}, index=[7, 8, 9])
    answers = rb.run(df, prompt=PROMPT, endpoints=[model.url], model="llama", max_cost=5)
    df["answer"] = answers.text
    assert [f"Describe {item} in" in df.loc[n, "answer"] for n, item in zip([7, 8, 9], df["item"], strict=True)] == [True] * 3
    assert answers.errors == {} and answers.cost is None and answers.unpriced == 3
    answers.to_parquet("answers.parquet")
    written = pd.read_parquet("answers.parquet")
    assert list(written["item"]) == list(df["item"]) and list(written["answer"]) == list(df["answer"])
    again = rb.run(df[["item"]], prompt=PROMPT, endpoints=[model.url], model="llama", max_cost=5)
    assert again.job_id == answers.job_id and list(again.text) == list(df["answer"])
    assert model.stats["requests"] == 3, "the same call returns what is done"


async def test_answers_come_as_the_input_was(model: ModelServer) -> None:
    items = ["lamp", "chair"]
    texts = ask(items, model).text
    assert isinstance(texts, list) and ["lamp" in text for text in texts] == [True, False]
    assert isinstance(ask(({"item": item} for item in items), model, prompt=PROMPT).text, list)
    frame = pl.DataFrame({"item": items})
    answers = ask(frame, model, prompt=PROMPT)
    assert isinstance(answers.text, pl.Series) and frame.with_columns(answers.text).width == 2
    table = pa.table({"item": items})
    column = ask(table, model, prompt="{item}?").text
    assert table.append_column("answer", column).num_rows == 2
    assert answers.to_pandas()["attempts"].tolist() == [1, 1]
    assert answers.to_polars()["endpoint"].n_unique() == 1 and answers.to_arrow().num_rows == 2


async def test_a_row_that_fails_is_none_and_says_why(model: ModelServer) -> None:
    model.behave(models=["another"])
    answers = ask(["lamp", "chair"], model, model="m")
    assert answers.text == [None, None] and set(answers.errors) == {0, 1} and "m" in answers.errors[0]
    model.behave(models=["*"])
    retried = answers.retry()
    assert "lamp" in retried.text[0] and retried.errors == {} and model.stats["completed"] == 2
    assert retried.retry() is answers and model.stats["completed"] == 2, "nothing is left to be sent again"
    answers.to_csv("answers.csv")
    assert len(Path("answers.csv").read_text().splitlines()) == 3


async def test_it_runs_in_a_running_loop_and_on_another_thread(model: ModelServer) -> None:
    assert asyncio.get_running_loop().is_running()
    here = ask(["lamp"], model)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda n=n: found.append(ask([f"chair {n}"], model).text)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert len(here.text) == 1 and len(found) == 2 and all(texts[0] for texts in found)


def test_what_can_not_be_used_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    endpoints = ["http://127.0.0.1:9/v1"]
    for data, options, said in [
        ([], {}, "the rows are empty"),
        ([{"text": "a"}, 7], {}, "row 2 is a int; rows are mappings of columns"),
        ("no-such.csv", {}, "there is no file no-such.csv"),
        (7, {}, "rows can't be taken from int"),
        ([{"a": 1, "b": 2}], {}, "rows need either a prompt or a column of messages"),
        ([{"a": 1, "b": 2}], {"prompt": "{c}"}, "{c}, which is no column of the rows; there are: a, b"),
        (pd.DataFrame([[1, 2]]), {"prompt": "x"}, "need names that are text"),
    ]:
        with pytest.raises(rb.InvalidRequest) as caught:
            rb.run(data, endpoints=endpoints, **options)
        assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == [], "nothing was made"


async def test_an_id_names_one_job(model: ModelServer) -> None:
    first = ask(["lamp"], model, id="mine")
    assert ask(["lamp"], model, id="mine").job_id == first.job_id
    with pytest.raises(rb.InvalidRequest, match="which has other requests; give another id"):
        ask(["chair"], model, id="mine")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
async def test_a_program_that_is_stopped_goes_on_where_it_was(model: ModelServer, tmp_path: Path, number: signal.Signals) -> None:
    model.behave(latency=0.2)
    command = [sys.executable, "-c", SCRIPT, model.url, "200"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until_blocking(lambda: model.stats["completed"] >= 60, 30)
    running.send_signal(number)
    _, errors = await asyncio.to_thread(running.communicate)
    assert running.returncode != 0
    if number is signal.SIGINT:
        assert "KeyboardInterrupt" in errors
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "200 of 200 rows completed" in ended.stdout and "200 {}" in ended.stdout
    assert model.stats["requests"] <= 200 + 32 + 60, (
        "only what was in flight, or finished in the last quarter second, is sent again"
    )
