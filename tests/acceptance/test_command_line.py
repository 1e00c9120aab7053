"""The commands of the contract, as a user types them: what they print, what they write, and their exit codes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.acceptance.cluster import Cluster, ModelServer
from tests.acceptance.shell import COMMAND, Shell
from tests.waiting import until


@pytest.fixture
async def model(tmp_path: Path) -> Any:
    """One model server, without anything else."""
    cluster = Cluster(tmp_path)
    server = await cluster.start_model("m", latency=0.05)
    yield server
    cluster.end()


def prompts(count: int) -> str:
    return "".join(orjson.dumps({"prompt": f"number {n}", "user": f"line-{n}"}).decode() + "\n" for n in range(1, count + 1))


async def test_run_writes_results_in_order_and_the_second_run_says_that_it_is_done(shell: Shell, model: ModelServer) -> None:
    shell.configure(endpoints=[{"url": model.url, "name": "m"}])
    shell.write("in.jsonl", prompts(40))
    first = shell("run", "in.jsonl", "-o", "out/results.jsonl")
    assert first.returncode == 0, first.stderr
    assert "40 of 40 lines completed" in first.stderr
    rows = shell.rows("out/results.jsonl")
    assert [row["custom_id"] for row in rows] == [f"line-{n}" for n in range(1, 41)]
    assert all("number" in row["response"]["body"]["choices"][0]["message"]["content"] for row in rows)
    assert not (shell.folder / "out/results.errors.jsonl").exists()
    again = shell("run", "in.jsonl", "-o", "out/results.jsonl")
    assert again.returncode == 0
    assert "is done already" in again.stderr
    (shell.folder / "out/results.jsonl").write_text("the user's own\n")
    assert shell("run", "in.jsonl", "-o", "out/results.jsonl").returncode == 0
    assert (shell.folder / "out/results.jsonl").read_text() == "the user's own\n"
    (shell.folder / "out/results.jsonl").unlink()
    assert shell("run", "in.jsonl", "-o", "out/results.jsonl").returncode == 0
    assert len(shell.rows("out/results.jsonl")) == 40
    assert model.stats["requests"] == 40


async def test_run_sends_to_the_endpoints_that_are_named_without_any_configuration(shell: Shell, tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    first, second = [await cluster.start_model(name, {"max_concurrency": 4}, latency=0.05) for name in ("a", "b")]
    shell.environment["ROADBALANCER_STORE"] = "store"
    shell.environment["GPU_KEY"] = "sk-of-the-gpus"
    shell.write("in.jsonl", prompts(40) + '{"prompt": "number 41", "model": "other"}\n')
    named = ["--endpoint", first.url, "--endpoint", second.url, "--model", "mine", "--api-key-env", "GPU_KEY"]
    done = shell("run", "in.jsonl", "--workers", "1", *named)
    assert done.returncode == 0, done.stderr
    bodies = [row["response"]["body"] for row in shell.rows("in.results.jsonl")]
    assert [body["model"] for body in bodies] == ["mine"] * 40 + ["other"]
    assert first.stats["completed"] > 0 and second.stats["completed"] > 0
    assert "sk-of-the-gpus" not in done.stderr + done.stdout
    cluster.end()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("in.jsonl", "would replace the input"),
        ("./in.jsonl", "would replace the input"),
        ("hard.jsonl", "would replace the input"),
        ("soft.jsonl", "would replace the input"),
        ("precious.txt", "precious.txt exists and does not hold results of this job"),
        ("fine.jsonl", "fine.errors.jsonl exists and does not hold results"),  # the errors file is one, too
        (".", "is a folder"),
        ("in.jsonl/out.jsonl", "can't be written"),
    ],
)
async def test_run_replaces_no_file_but_its_own_results(shell: Shell, model: ModelServer, out: str, message: str) -> None:
    shell.configure(endpoints=[{"url": model.url, "name": "m"}])
    content = shell.write("in.jsonl", prompts(3)).read_bytes()
    (shell.folder / "hard.jsonl").hardlink_to(shell.folder / "in.jsonl")
    (shell.folder / "soft.jsonl").symlink_to("in.jsonl")
    for name in ("precious.txt", "fine.errors.jsonl"):
        shell.write(name, "my own words\n")
    refused = shell("run", "in.jsonl", "-o", out)
    assert (refused.returncode, message in refused.stderr) == (2, True), refused.stderr
    assert (shell.folder / "in.jsonl").read_bytes() == content
    assert (shell.folder / "precious.txt").read_text() == "my own words\n"
    assert model.stats["requests"] == 0


async def test_force_replaces_a_foreign_file_and_results_of_the_same_job_need_none(shell: Shell, model: ModelServer) -> None:
    shell.configure(endpoints=[{"url": model.url, "name": "m"}])
    shell.write("in.jsonl", prompts(3))
    shell.write("out.jsonl", "my own words\n")
    assert shell("run", "in.jsonl", "--workers", "1", "-o", "out.jsonl", "--force").returncode == 0
    assert len(shell.rows("out.jsonl")) == 3
    job_id = next(word for word in shell("list").stdout.split() if word.startswith("batch_"))
    assert shell("results", job_id, "-o", "out.jsonl").returncode == 0
    shell.write("other.txt", "my own words\n")
    refused = shell("results", job_id, "-o", "other.txt")
    assert (refused.returncode, "does not hold results of this job" in refused.stderr) == (2, True), refused.stderr
    assert shell("results", job_id, "-o", "other.txt", "--force").returncode == 0


async def test_programs_of_the_users_with_our_packages_names_are_not_run(shell: Shell, model: ModelServer) -> None:
    shell.configure(endpoints=[{"url": model.url, "name": "m"}])
    shell.write("in.jsonl", prompts(3))
    for name in ("balancer", "jobs", "workers", "producer_api", "celery", "redis"):
        shell.write(f"{name}.py", "open('was-run', 'w')\n")
    command = [str(Path(sys.executable).with_name("roadbalancer")), "run", "in.jsonl"]
    done = subprocess.run(command, cwd=shell.folder, env=shell.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not (shell.folder / "was-run").exists()


@pytest.mark.parametrize("program", ["from api_roadbalancer import LoadBalancer", "import api_roadbalancer.langchain"])
def test_a_clash_of_names_in_the_users_program_is_named(shell: Shell, program: str) -> None:
    shell.write("jobs.py", "")
    shell.write("program.py", program)
    done = subprocess.run([sys.executable, "program.py"], cwd=shell.folder, capture_output=True, text=True, timeout=60)
    message = f"{shell.folder / 'jobs.py'} has the name of the package 'jobs' that belongs to roadbalancer; rename it"
    assert (done.returncode, message in done.stderr) == (1, True), done.stderr


async def test_a_worker_that_never_comes_up_ends_the_run_with_its_last_words(shell: Shell, model: ModelServer) -> None:
    shell.configure(endpoints=[{"url": model.url, "name": "m"}])
    shell.write("in.jsonl", prompts(3))
    site = shell.folder / "site"
    site.mkdir()
    (site / "uvloop.py").write_text("import sys\nif 'worker' in sys.argv: raise SystemExit('no loop today')\nraise ImportError\n")
    shell.environment["PYTHONPATH"] = str(site)
    ended = shell("run", "in.jsonl", "--workers", "1")
    assert ended.returncode == 2, ended.stderr
    assert "worker 1 does not start: it ended 3 times with exit code" in ended.stderr
    assert "no loop today" in ended.stderr and "Traceback" not in ended.stderr


async def test_what_a_run_keeps_can_be_read_by_the_user_alone(shell: Shell, model: ModelServer) -> None:
    shell.configure(endpoints=[{"url": model.url, "name": "m"}])
    shell.write("in.jsonl", prompts(3))
    assert shell("run", "in.jsonl", "--workers", "1", "-o", "out.jsonl").returncode == 0
    store = shell.folder / "store"
    readable = [path for path in (store, *store.rglob("*")) if path.stat().st_mode & 0o077]
    assert not [path for path in readable if path == store or path.is_file()], readable
    umask = os.umask(0)
    os.umask(umask)
    assert (shell.folder / "out.jsonl").stat().st_mode & 0o777 == 0o666 & ~umask, "the results are the user's, as any file"


async def test_run_with_failed_lines_says_so_and_writes_them_beside_the_output(shell: Shell, model: ModelServer) -> None:
    shell.configure(endpoints=[{"url": model.url, "name": "m"}])
    model.behave(fail_custom=["line-7"])
    shell.write("in.jsonl", prompts(9))
    done = shell("run", "in.jsonl", "--workers", "1")
    assert done.returncode == 1, done.stderr
    assert "1 failed" in done.stderr
    assert len(shell.rows("in.results.jsonl")) == 8
    assert [row["custom_id"] for row in shell.rows("in.results.errors.jsonl")] == ["line-7"]


async def test_failed_lines_are_sent_again_and_merged(shell: Shell, tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    try:
        model = await cluster.start_model("m", models="good")
        endpoints = [{"url": model.url, "name": "m", "models": {"good": "good", "bad": "bad"}}]
        shell.configure(endpoints=endpoints)
        lines = [{"custom_id": f"q-{n}", "prompt": "x", "model": "bad" if n % 3 == 0 else "good"} for n in range(9)]
        shell.write("in.jsonl", b"\n".join(map(orjson.dumps, lines)))
        first = shell("run", "in.jsonl", "--workers", "1")
        assert first.returncode == 1 and "6 of 9 lines completed" in first.stderr
        model.behave(models=["good", "bad"])
        second = shell("run", "in.jsonl", "--workers", "1", "--retry-failed")
        assert second.returncode == 0, second.stderr
        assert "9 of 9 lines completed" in second.stderr
        assert [row["custom_id"] for row in shell.rows("in.results.jsonl")] == [f"q-{n}" for n in range(9)]
        assert not (shell.folder / "in.results.errors.jsonl").exists()
        assert model.stats["completed"] == 9
    finally:
        cluster.end()


async def test_embeddings_are_a_job_like_any_other(shell: Shell, tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    try:
        model = await cluster.start_model("m", latency=0.01)
        lines = [{"input": f"text {n}"} for n in range(50)] + [{"input": ["one", "two"], "encoding_format": "base64"}]
        shell.write("in.jsonl", b"\n".join(map(orjson.dumps, lines)))
        done = shell("run", "in.jsonl", "--workers", "1", "--endpoint", model.url, "--model", "m")
        assert done.returncode == 0, done.stderr
        assert "51 of 51 lines completed" in done.stderr and "tokens 51 in" in done.stderr
        bodies = [row["response"]["body"] for row in shell.rows("in.results.jsonl")]
        assert all(len(body["data"][0]["embedding"]) == 8 for body in bodies[:50])
        assert [type(each["embedding"]) for each in bodies[50]["data"]] == [str, str]
        shell.write("mixed.jsonl", b'{"input": "text"}\n{"prompt": "Hi"}\n')
        refused = shell("run", "mixed.jsonl", "--endpoint", model.url)
        assert refused.returncode == 2
        assert "line 2: `url` is /v1/chat/completions, but the batch's endpoint is /v1/embeddings" in refused.stderr
    finally:
        cluster.end()


async def test_run_that_was_killed_goes_on_where_it_was(shell: Shell, model: ModelServer) -> None:
    shell.configure(endpoints=[{"url": model.url, "name": "m", "max_concurrency": 4}])
    shell.write("in.jsonl", prompts(300))
    running = shell.begin("run", "in.jsonl", "-o", "out.jsonl", "--workers", "1")
    await until(lambda: model.stats["completed"] > 60, what="the run to be under way")
    running.send_signal(signal.SIGKILL)
    running.wait()
    await until(lambda: model.stats["in_flight"] == 0, what="its workers to end with it")
    answered_before = model.stats["completed"]
    done = shell("run", "in.jsonl", "-o", "out.jsonl", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "going on with" in done.stderr
    assert [row["custom_id"] for row in shell.rows("out.jsonl")] == [f"line-{n}" for n in range(1, 301)]
    assert model.stats["completed"] - answered_before < 300 - 40, "it began from the start"


async def test_run_that_is_interrupted_stops_within_ten_seconds_and_goes_on(shell: Shell, model: ModelServer) -> None:
    shell.configure(endpoints=[{"url": model.url, "name": "m", "max_concurrency": 4}])
    shell.write("in.jsonl", prompts(200))
    running = shell.begin("run", "in.jsonl", "--workers", "1", "-o", "out.jsonl")
    await until(lambda: model.stats["completed"] > 40, what="the run to be under way")
    stopped_at = time.monotonic()
    running.send_signal(signal.SIGINT)
    assert running.wait(15) == 130
    assert time.monotonic() - stopped_at < 10
    assert shell("run", "in.jsonl", "--workers", "1", "-o", "out.jsonl").returncode == 0
    assert len(shell.rows("out.jsonl")) == 200
    assert max(model.seen().values()) == 1, "lines in flight were given up although there was time"


def test_without_any_endpoint_a_simulated_one_answers_and_says_so(shell: Shell) -> None:
    shell.write("in.jsonl", prompts(3))
    done = shell("run", "in.jsonl", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "SIMULATED" in done.stderr


GOOD = '{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"x"}]}}\n'
BAD_INPUTS: list[tuple[str, bytes | str, str]] = [
    ("malformed JSON", GOOD + "{nonsense\n", "line 2"),
    ("missing custom_id", GOOD.replace('"custom_id":"a",', ""), "line 1: `custom_id` is missing"),
    ("duplicate custom_id", GOOD + "\n" + GOOD, "line 3: duplicate custom_id, first used on line 1"),
    ("wrong url", GOOD.replace("chat/completions", "images"), "line 1: `url`"),
    ("wrong method", GOOD.replace("POST", "GET"), "line 1: `method`"),
    ("stream", GOOD.replace('"messages"', '"stream":true,"messages"'), "line 1: `body.stream`"),
    ("empty file", "", "no requests"),
    ("a line of 10 MB", GOOD + '{"prompt":"' + "x" * 10_000_000 + '"}\n', "line 2: is longer than"),
    ("invalid UTF-8", GOOD.encode() + b'{"prompt":"\xff\xfe"}\n', "line 2: is not UTF-8"),
    (
        "unknown model",
        GOOD.replace('"messages"', '"model":"no-such","messages"'),
        "no endpoint serves the model 'no-such'",
    ),
    ("prompt that is no text", '{"prompt": 5}\n', "line 1: `prompt`"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_INPUTS, ids=[name for name, _, _ in BAD_INPUTS])
def test_bad_input_is_refused_with_its_line_and_exit_code_2(shell: Shell, name: str, content: bytes | str, message: str) -> None:
    shell.configure(endpoints=[{"url": "http://127.0.0.1:9/v1", "name": "m", "models": ["served"]}])
    shell.write("in.jsonl", content)
    refused = shell("run", "in.jsonl")
    assert refused.returncode == 2
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (shell.folder / "in.results.jsonl").exists()
    assert not list((shell.folder / "store").glob("files/*/content")), "something half done was left"


FINE_INPUTS = [b"\xef\xbb\xbf" + GOOD.encode(), GOOD.replace("\n", "\r\n").encode(), GOOD.strip().encode()]


@pytest.mark.parametrize("content", FINE_INPUTS, ids=["byte order mark", "CRLF", "no last line break"])
async def test_harmless_oddities_of_a_file_are_fine(shell: Shell, model: ModelServer, content: bytes) -> None:
    shell.configure(endpoints=[{"url": model.url, "name": "m"}])
    shell.write("in.jsonl", content)
    done = shell("run", "in.jsonl", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert [row["custom_id"] for row in shell.rows("in.results.jsonl")] == ["a"]


BAD_USAGE: list[tuple[list[str], dict[str, Any], str]] = [
    (["run", "no-such.jsonl"], {}, "there is no file no-such.jsonl"),
    (["status", "batch_00000000000000000000000000000000"], {}, "there is no store at store"),
    (["status", "../../etc/passwd"], {}, "there is no store at store"),
    (["run", "in.jsonl", "--window", "soon"], {}, "completion_window"),
    (["run", "in.jsonl", "--endpoint", "gpu1:8000"], {}, "--endpoint: endpoints[0].url"),
    (["run", "in.jsonl", "--model", "m"], {}, "--model: m: belongs to --endpoint URL"),
    (
        ["run", "in.jsonl", "--endpoint", "http://h/v1", "--api-key-env", "NO_SUCH"],
        {},
        "--api-key-env: NO_SUCH: this environment variable is not set",
    ),
    (["worker", "--endpoints", "x"], {"endpoints": [{"url": "http://127.0.0.1:9/v1", "name": "m"}]}, "is not configured"),
    (["list"], {"surprise": 1}, "config.yaml: surprise: unknown key"),
    (["list"], {"endpoints": [{"url": "http://h/v1", "wieght": 2}]}, "endpoints[0].wieght: unknown key"),
    (["list"], {"redis_url": "redis://:secret@127.0.0.1:1/0"}, "Redis at redis://127.0.0.1:1/0 can't be used"),
    (["api", "--host", "0.0.0.0"], {}, "would let anybody in"),
    (["flower", "--host", "0.0.0.0"], {}, "would let anybody in"),
    (["no-such-command"], {}, "No such command"),
]


@pytest.mark.parametrize(("arguments", "settings", "message"), BAD_USAGE, ids=[" ".join(a) for a, _, _ in BAD_USAGE])
def test_bad_usage_is_reported_in_a_line_with_exit_code_2(
    shell: Shell, arguments: list[str], settings: dict[str, Any], message: str
) -> None:
    shell.configure(**settings)
    shell.write("in.jsonl", GOOD)
    refused = shell(*arguments)
    assert refused.returncode == 2, refused.stderr
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "secret" not in refused.stderr


@pytest.fixture
def serving(cluster: Cluster, shell: Shell) -> Iterator[Cluster]:
    """A cluster that the shell's commands use."""
    shell.environment["ROADBALANCER_CONFIG"] = str(cluster.config)
    yield cluster


async def test_submit_status_results_cancel_list_verify_endpoints(serving: Cluster, shell: Shell) -> None:
    await serving.start_model("m", {"max_concurrency": 8}, latency=0.02)
    serving.write_config()
    await serving.start_worker()
    shell.write("in.jsonl", prompts(50))
    submitted = shell("submit", "in.jsonl")
    assert submitted.returncode == 0, submitted.stderr
    job_id = submitted.stdout.strip()
    named = [shell("submit", "in.jsonl", "--id", "mine") for _ in range(2)]
    assert named[0].stdout == named[1].stdout != submitted.stdout, "the same name, the same job"
    shell.write("other.jsonl", '{"prompt": "another"}')
    refused = shell("submit", "other.jsonl", "--id", "mine")
    assert refused.returncode == 2 and "has another input; give another --id" in refused.stderr
    followed = shell("results", job_id, "--follow")
    assert followed.returncode == 0, followed.stderr
    assert [orjson.loads(line)["custom_id"] for line in followed.stdout.splitlines()] == [f"line-{n}" for n in range(1, 51)]
    status = orjson.loads(shell("status", job_id, "--json").stdout)
    assert (status["status"], status["completed"], status["shares"]) == ("completed", 50, {"m": 50})
    assert "50 lines = 50 output + 0 errors" in shell("verify", job_id).stdout
    assert job_id in shell("list").stdout
    assert "m " in shell("endpoints").stdout
    assert shell("results", job_id, "-o", "copy.jsonl").returncode == 0
    assert len(shell.rows("copy.jsonl")) == 50
    assert shell("cancel", job_id).stdout.split()[1] == "completed", "a job that has ended stays as it is"


async def test_a_worker_serves_only_the_endpoints_it_was_given(serving: Cluster, shell: Shell) -> None:
    served = await serving.start_model("served", {"max_concurrency": 8}, latency=0.02)
    other = await serving.start_model("other", {"max_concurrency": 8}, latency=0.02)
    serving.write_config()
    await serving.start_worker("--endpoints", "served")
    shell.write("in.jsonl", prompts(60))
    job_id = shell("submit", "in.jsonl").stdout.strip()
    assert shell("results", job_id, "--follow").returncode == 0
    assert (served.stats["completed"], other.stats["completed"]) == (60, 0)


def test_a_full_disk_is_reported_and_leaves_nothing_half_done(shell: Shell) -> None:
    shell.configure(endpoints=[{"url": "http://127.0.0.1:9/v1", "name": "m"}])
    shell.write("in.jsonl", prompts(100_000))
    command = f"ulimit -f 2000; exec {' '.join(COMMAND)} submit in.jsonl"
    refused = subprocess.run(
        ["bash", "-c", command], cwd=shell.folder, env=shell.environment, capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 2
    assert "the files can't be written" in refused.stderr and "File too large" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert not [path for path in (shell.folder / "store" / "files").rglob("*") if path.is_file()]


async def test_an_object_store_that_fails_for_a_while_loses_nothing(serving: Cluster, shell: Shell) -> None:
    model = await serving.start_model("m", {"max_concurrency": 8}, latency=0.02)
    serving.write_config()
    obstacle = Path(serving.settings["store"]) / "jobs"
    obstacle.parent.mkdir(parents=True, exist_ok=True)
    obstacle.write_text("a file where the parts' folder should be: no part can be written")
    worker = await serving.start_worker()
    shell.write("in.jsonl", prompts(30))
    job_id = shell("submit", "in.jsonl").stdout.strip()
    await until(lambda: b"can't go on for now" in worker.log.read_bytes(), what="the store's failure to be noticed")
    assert orjson.loads(shell("status", job_id, "--json").stdout)["status"] == "in_progress"
    obstacle.unlink()
    assert shell("results", job_id, "--follow").returncode == 0
    assert "each once, in order" in shell("verify", job_id).stdout
    assert max(model.seen().values()) == 1, "finished lines were sent again"
