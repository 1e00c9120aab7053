"""Mistakes get one line that says what is wrong and what to do, before anything is sent."""

import gzip
import io
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from rich.console import Console

from api_roadbalancer.progress import job_view
from balancer.outcome import FailureKind
from balancer.state.concurrency import Limit
from balancer.state.health import Circuit, Health
from jobs.monitoring.overview import EndpointState
from jobs.records import Job, Ledger
from jobs.records.states import JobStatus
from tests.acceptance.cluster import ModelServer
from tests.acceptance.shell import Shell
from tests.fake_providers import FAKE_PROVIDERS, ProviderServer
from tests.fake_providers.base import KEY
from tests.waiting import until

ENDPOINT = ("-e", "http://127.0.0.1:9/v1")
REQUEST = b'{"prompt": "Hello"}\n'


def excel() -> bytes:
    return b"PK\x03\x04\x14\x00\x06\x00" + b"\x00" * 100


@pytest.mark.parametrize(
    ("name", "content", "arguments", "expected"),
    [
        ("in.jsonl", b"question,answer\nWhat?,That\n", (), ["in.jsonl", "CSV"]),
        ("in.jsonl", gzip.compress(REQUEST, mtime=0), (), ["in.jsonl", "gzip"]),
        ("in.jsonl", excel(), (), ["in.jsonl", "Excel"]),
        ("in.jsonl", b'[{"prompt": "a"}, {"prompt": "b"}]', (), ["in.jsonl", "JSON array", ".json"]),
        ("in.jsonl", b"What is that?\nAnd that?\n", (), ["in.jsonl", "text", ".txt"]),
        ("in.jsonl", b'{"question": "What?"}\n', (), ["line 1", "`prompt`", "found: question"]),
        ("in.csv", b"question\nWhat?\n", (), ["--prompt", "question"]),
        ("in.csv", b"question\nWhat?\n", ("--prompt", "Say: {text}"), ["text", "question"]),
        ("in.jsonl", REQUEST, ("-o", "."), ["folder"]),
        ("in.jsonl", REQUEST, ("--max-costs", "3"), ["--max-costs", "--max-cost"]),
        ("in.jsonl", REQUEST, ("--workers", "many"), ["--workers", "valid integer"]),
        ("in.jsonl", REQUEST, ("--config", "missing.yaml"), ["missing.yaml"]),
        ("in.jsonl", REQUEST, ("--canary-random",), ["--canary N"]),
    ],
    ids=[
        "csv",
        "gzip",
        "excel",
        "array",
        "text",
        "other field",
        "table without a prompt",
        "unknown column",
        "folder",
        "option",
        "value of an option",
        "configuration",
        "canary",
    ],
)
def test_mistakes_about_files_and_options(
    shell: Shell, name: str, content: bytes, arguments: tuple[str, ...], expected: list[str]
) -> None:
    shell.write(name, content)
    done = shell("run", name, *ENDPOINT, *arguments)
    assert done.returncode == 2
    line = the_line(done.stderr)
    assert [words for words in expected if words not in line] == [], line


def the_line(printed: str) -> str:
    """The one line that was printed."""
    lines = printed.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), printed
    return lines[0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"max_concurency": 3}, "endpoints[0].max_concurency: unknown key; did you mean `max_concurrency`?"),
        ({"price": {"input": 1, "output": 2, "cach": 1}}, "endpoints[0].price.cach: unknown key; did you mean `cached`?"),
        ({"qqq": 3}, "endpoints[0].qqq: unknown key; docs/configuration.md lists all keys"),
    ],
)
def test_a_misspelt_key(shell: Shell, settings: dict[str, object], expected: str) -> None:
    shell.configure(endpoints=[{"url": "http://127.0.0.1:9/v1", **settings}])
    shell.write("in.jsonl", REQUEST)
    for command in (("run", "in.jsonl"), ("config", "check"), ("endpoints",)):
        done = shell(*command)
        assert (done.returncode, the_line(done.stderr)) == (2, f"error: config.yaml: {expected}")


@pytest.mark.parametrize("command", [("mock",), ("api",), ("flower",), ("up",)])
def test_a_taken_port(shell: Shell, command: tuple[str, ...]) -> None:
    shell.configure(endpoints=[{"url": "http://127.0.0.1:9/v1"}])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = shell(*command, "--port", str(port))
    assert (done.returncode, the_line(done.stderr)) == (2, f"error: port {port} is in use; choose another with --port")


def test_a_missing_bucket(shell: Shell) -> None:
    shell.environment |= {"ROADBALANCER_STORE": "s3://missing/jobs", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    shell.environment |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ALLOW_HTTP": "true"}
    shell.write("in.jsonl", REQUEST)
    done = shell("run", "in.jsonl", *ENDPOINT)
    line = the_line(done.stderr)
    assert done.returncode == 2 and "s3://missing/jobs" in line and "can't be" in line
    assert "Error {" not in line and "source:" not in line, "no inner structure of the store's client"


@pytest.mark.parametrize("command", ["list", "status", "results", "cancel", "verify", "resume", "retry", "usage"])
def test_a_folder_without_a_store(shell: Shell, command: str) -> None:
    before = set(shell.folder.iterdir())
    done = shell(command, *(("batch_1",) if command not in ("list", "usage") else ()))
    assert done.returncode == (0 if command == "list" else 2)
    assert "there is no store at ./data" in done.stderr and len(done.stderr.splitlines()) == 1
    assert set(shell.folder.iterdir()) == before, "nothing is created"


def test_warnings_about_a_configuration_are_printed_once(shell: Shell) -> None:
    shell.write(
        "config.yaml",
        "model_list:\n"
        "  - {model_name: a, litellm_params: {model: openai/a, api_base: 'http://127.0.0.1:9/v1', api_key: x}}\n"
        "  - {model_name: b, litellm_params: {model: azure/b}}\n"
        "store: store\n",
    )
    shell.environment["ROADBALANCER_CONFIG"] = "config.yaml"
    first, second, checked = shell("endpoints"), shell("endpoints"), shell("config", "check")
    assert "warning: " in first.stderr and "azure" in first.stderr and "config check" in first.stderr
    assert second.stderr == ""
    assert "warning: " in checked.stdout and "azure" in checked.stdout and checked.returncode == 0
    assert shell("config", "check", "--strict").returncode == 1


SOONER = """
from api_roadbalancer.bulk import outage
outage.NOTICED_AFTER = 1.0
from api_roadbalancer.cli.main import main
main()
"""


@pytest.mark.parametrize("trouble", ["down", "key refused"])
async def test_when_no_endpoint_answers_the_run_says_so_and_fail_fast_ends_it(shell: Shell, trouble: str) -> None:
    shell.write("in.jsonl", REQUEST)
    with ExitStack() as stack:
        server = stack.enter_context(ProviderServer(FAKE_PROVIDERS["openai"]))
        refused = server.fake.fail(FailureKind.AUTHENTICATION)
        assert refused is not None
        server.answer = refused
        if trouble == "down":
            stack.close()
        shell.environment["GPU_KEY"] = KEY
        options = ["-e", f"{server.address}/v1", "--api-key-env", "GPU_KEY", "--no-progress"]
        command = [sys.executable, "-c", SOONER, "run", "in.jsonl", *options]
        done = subprocess.run([*command, "--fail-fast"], cwd=shell.folder, env=shell.environment, capture_output=True, text=True)
        assert done.returncode == 2
        assert "error: no endpoint has answered for" in done.stderr and "what is finished is kept" in done.stderr
        waiting = subprocess.Popen(command, cwd=shell.folder, env=shell.environment, stderr=subprocess.PIPE)
        assert waiting.stderr is not None
        seen = b""
        while b"--fail-fast ends such a run" not in seen:
            seen += (chunk := os.read(waiting.stderr.fileno(), 65536))
            assert chunk, seen
        assert b"The next attempt is in" in seen
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(30) == 130
        waiting.stderr.close()


async def test_a_second_interrupt_ends_lines_in_flight(shell: Shell, model: ModelServer) -> None:
    model.behave(latency=60.0)
    shell.write("in.jsonl", REQUEST)
    running = shell.begin("run", "in.jsonl", "-e", model.url, "--no-progress")
    await until(lambda: model.stats["requests"] == 1, what="a line in flight")
    running.send_signal(signal.SIGINT)
    printed = shell.folder / "begun.log"
    await until(lambda: "once more ends them at once" in printed.read_text(), what="the first interrupt")
    began = time.monotonic()
    running.send_signal(signal.SIGINT)
    assert running.wait(30) == 130
    assert time.monotonic() - began < 5, "instead of the ten seconds that a line in flight has"
    model.behave(latency=0.0)
    assert shell("run", "in.jsonl", "-e", model.url).returncode == 0, "the same command goes on"


def test_the_help_lists_commands_in_groups_and_offers_completion(shell: Shell) -> None:
    shown = shell("--help").stdout
    for title in ("A file of requests:", "Jobs of a service:", "Processes:", "The fleet:"):
        assert f"\n{title}\n" in shown
    assert "More:" not in shown and "--install-completion" in shown


def test_a_narrow_terminal_shows_what_there_is_room_for() -> None:
    job = Job("batch_1", JobStatus.IN_PROGRESS, "file-1", "/v1/chat/completions", "24h", 0, 0, Ledger(1000, 300, 2))
    endpoints = [
        EndpointState(name, Health(circuit=Circuit.CLOSED, latency=0.5), 3, Limit(32), 5, 1)
        for name in ("gpu-1", "a-long-name-of-a-gpu")
    ]
    for width in (40, 80, 120):
        console = Console(width=width, file=io.StringIO())
        with console.capture() as captured:
            console.print(job_view(job, 12.5, endpoints, width))
        lines = captured.get().splitlines()
        assert max(map(len, lines)) <= width
        assert "302/1,000" in lines[0] and "gpu-1" in captured.get() and "3/32" in captured.get()
        assert ("latency" in captured.get()) is (width >= 80)
