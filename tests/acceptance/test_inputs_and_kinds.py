"""Inputs of further formats and from elsewhere, embeddings as vectors, responses, checks in Python, and answers of other jobs."""

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import openpyxl
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

import roadbalancer as rb
from jobs.service import JobRequest
from tests.acceptance.cluster import CHAT, Cluster, ModelServer, check_each_once, ended
from tests.acceptance.shell import Shell


@pytest.fixture
def bucket(shell: Shell) -> Iterator[str]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "us-east-1"}
    shell.environment |= {**keys, "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ALLOW_HTTP": "true"}
    client = boto3.client(
        "s3", endpoint_url=f"http://{host}:{port}", aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
    )
    client.create_bucket(Bucket="inputs")
    client.put_object(Bucket="inputs", Key="some/rows.csv", Body=b"text\nHello\nGood day\n")
    yield "s3://inputs/some/rows.csv"
    client.close()
    server.stop()


def test_an_object_in_a_bucket(shell: Shell, model: ModelServer, bucket: str) -> None:
    run = ("run", bucket, "--prompt", "Say: {text}", "-e", model.url)
    done = shell(*run, "-o", "out.csv")
    assert done.returncode == 0, done.stderr
    assert "Say: Good day" in (shell.folder / "out.csv").read_text()
    assert "is done already" in shell(*run, "-o", "out.csv").stderr
    assert shell(*run).stderr == f"error: {bucket} is no file beside which results could stand; name their file with -o\n"
    missing = shell("run", "s3://inputs/none.csv", "--prompt", "{text}", "-o", "out2.csv", "-e", model.url)
    assert (missing.returncode, missing.stderr) == (2, "error: there is no object s3://inputs/none.csv\n")


def test_a_workbook_of_excel(shell: Shell, model: ModelServer) -> None:
    book = openpyxl.Workbook()
    for row in (["text", "n", "day"], ["Hello", 1, None], [None, None, None], ["Good day", 2.5, None]):
        book.active.append(row)
    book.save(shell.folder / "in.xlsx")
    done = shell("run", "in.xlsx", "--prompt", "Say: {text}", "-e", model.url, "-o", "out.parquet")
    assert done.returncode == 0, done.stderr
    table = pq.read_table(shell.folder / "out.parquet")
    assert table["n"].to_pylist() == [1, 2.5] and "Say: Good day" in table["answer"][1].as_py()


def test_compressed_requests(shell: Shell, model: ModelServer) -> None:
    shell.write("in.jsonl.gz", gzip.compress(b'{"prompt": "one"}\n{"prompt": "two"}\n'))
    done = shell("run", "in.jsonl.gz", "-e", model.url, "-o", "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert len(shell.rows("out.jsonl")) == 2


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_vectors_are_a_column_of_lists_of_floats(shell: Shell, model: ModelServer, encoding: str) -> None:
    shell.write("in.csv", "text\nHello\nGood day\nHello\n")
    run = ("run", "in.csv", "--embed", "{text}", "--field", f"encoding_format={encoding}", "-e", model.url)
    assert shell(*run, "-o", "out.parquet").returncode == 0
    table = pq.read_table(shell.folder / "out.parquet")
    assert table.schema.field("embedding").type == pa.list_(pa.float32())
    first, second, third = table["embedding"].to_pylist()
    assert len(first) == 8 and first == third != second
    assert model.stats["requests"] == 2, "the same text is embedded once"
    assert shell(*run, "-o", "out.csv").returncode == 0
    assert orjson.loads((shell.folder / "out.csv").read_text().splitlines()[1].split('"')[1]) == pytest.approx(first)


def test_embeddings_from_python(model: ModelServer) -> None:
    answers = rb.run(["Hello", "Good day"], embed="{text}", endpoints=[model.url], progress=False)
    assert [len(vector or []) for vector in answers.embeddings] == [8, 8] and answers[0] == answers.embeddings[0]
    assert answers.errors == {} and answers.tokens.prompt > 0


async def test_responses_in_a_job(cluster: Cluster) -> None:
    await cluster.start_model("m", {"price": {"input": 1000.0, "output": 1000.0}})
    cluster.write_config()
    await cluster.start_worker()
    _, url = await cluster.start_api()
    asked = {"method": "POST", "url": "/v1/responses"}
    lines = [{"custom_id": f"r{n}", **asked, "body": {"input": f"question {n}"}} for n in range(5)]
    body = {"requests": lines, "endpoint": "/v1/responses"}
    job = httpx.post(f"{url}/api/v1/jobs", json=body).raise_for_status().json()
    async with cluster.node() as node:
        done = await ended(node, await node.service.jobs.get(job["id"]))
        output, errors = await check_each_once(node, done, [f"r{n}" for n in range(5)])
    assert errors == [] and done.tokens.prompt > 0 and done.tokens.completion > 0 and done.cost > 0
    assert "question 3" in output[3]["response"]["body"]["output"][0]["content"][0]["text"]
    refused = httpx.post(f"{url}/api/v1/jobs", json={**body, "checks": ["not_empty"]})
    assert refused.status_code == 400 and "checks are for chats" in refused.text


CHECKS = """
def has_no_seven(text):
    return "it says seven" if "seven" in text else None

def broken(text):
    raise ValueError("of no use")
"""


def test_a_check_in_python(shell: Shell, model: ModelServer) -> None:
    shell.write("my_checks.py", CHECKS)
    shell.write("in.jsonl", b'{"prompt": "six"}\n{"prompt": "seven"}\n')
    run = ("run", "in.jsonl", "-e", model.url)
    done = shell(*run, "--check", "python=my_checks:has_no_seven", "--recheck", "1", "-o", "out.jsonl")
    assert done.returncode == 1, done.stderr
    (failed,) = shell.rows("out.errors.jsonl")
    assert failed["error"]["code"] == "check_failed" and "it says seven" in failed["error"]["message"]
    assert model.stats["requests"] == 3
    shell(*run, "--check", "python=my_checks:broken", "--recheck", "0", "-o", "out2.jsonl")
    assert {"ValueError: of no use" in row["error"]["message"] for row in shell.rows("out2.errors.jsonl")} == {True}
    wrong = {"my_checks:none": "can't be loaded", "none:f": "can't be loaded", "os.getcwd()": "module:function"}
    for check, reason in wrong.items():
        refused = shell(*run, "--check", f"python={check}", "-o", "out3.jsonl")
        assert refused.returncode == 2 and reason in refused.stderr and len(refused.stderr.splitlines()) == 1


async def test_python_checks_are_refused_over_http_and_in_workers_that_do_not_allow_them(cluster: Cluster, shell: Shell) -> None:
    await cluster.start_model("m")
    cluster.write_config()
    await cluster.start_worker()
    _, url = await cluster.start_api()
    for check in ({"python": "os:system"}, "python"):
        refused = httpx.post(f"{url}/api/v1/jobs", json={"prompts": ["a"], "checks": [check]})
        assert refused.status_code == 400 and "no check over HTTP" in refused.text
    async with cluster.node() as node:
        file_id = httpx.post(f"{url}/api/v1/jobs", json={"prompts": ["a"]}).json()["input_file_id"]
        request = JobRequest(file_id, CHAT, checks='[[{"python":"os:system"}],{"attempts":0}]')
        job = await ended(node, await node.service.submit(request))
        _, (error,) = await check_each_once(node, job, ["line-1"])
    assert "this worker loads no functions" in error["error"]["message"]


def test_answers_of_other_jobs_are_used_where_that_is_asked_for(shell: Shell, model: ModelServer) -> None:
    shell.write("in.jsonl", b'{"prompt": "one"}\n{"prompt": "two"}\n')
    shell.write("more.jsonl", b'{"prompt": "two"}\n{"prompt": "three"}\n{"prompt": "one", "max_tokens": 3}\n')
    run = ("run", "in.jsonl", "-e", model.url)
    assert shell(*run, "-o", "a.jsonl", "--cache", "1d").returncode == 0 and model.stats["requests"] == 2
    assert shell(*run, "-o", "b.jsonl").returncode == 0 and model.stats["requests"] == 4, "not without the option"
    assert shell("run", "more.jsonl", "-e", model.url, "-o", "c.jsonl", "--cache", "1d").returncode == 0
    assert model.stats["requests"] == 6
    two, three, _ = shell.rows("c.jsonl")
    assert (two["cached"], two["cost"], two["attempts"], "cached" in three) == (True, 0.0, 0, False)
    assert two["response"]["body"] == shell.rows("a.jsonl")[1]["response"]["body"]
    assert shell(*run, "-o", "d.jsonl", "--cache", "1d", "--check", "regex=nowhere", "--recheck", "0").returncode == 1
    assert model.stats["requests"] == 8, "what is kept has to pass the checks"
    assert "90d at most" in shell(*run, "-o", "e.jsonl", "--cache", "91d").stderr
    assert "cache must be a number" in shell(*run, "-o", "e.jsonl", "--cache", "soon").stderr


def test_the_folder_of_answers_holds_nothing_without_the_option(shell: Shell, model: ModelServer) -> None:
    shell.write("in.jsonl", b'{"prompt": "one"}\n')
    shell("run", "in.jsonl", "-e", model.url)
    assert not list(Path(shell.folder).glob("data/cache/*")) and os.path.isdir(shell.folder / "data")
