"""The wheel in an environment of its own, outside of the checkout; its dependencies are those of the test environment."""

import asyncio
import json
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.acceptance.cluster import Cluster, ModelServer
from tests.named_hosts import named_hosts

ROOT = Path(__file__).parents[2]
LINES = """
import roadbalancer as rb
answers = rb.run(df, prompt="Describe {item} in a sentence.", endpoints=["http://gpu1:8000/v1"], model="llama", max_cost=5)
df["answer"] = answers.text
answers.retry(); answers.cost; answers.to_parquet("answers.parquet")
class Review(BaseModel): stars: int; reason: str
reviews = rb.run(rows, prompt="Rate: {text}", schema=Review)
async with rb.AsyncClient("http://host:4000", key) as client:
    job = await client.submit("prompts.parquet", prompt="Sum up: {text}")
    async for row in client.results(job, follow=True): seen.append(row["answer"])
text = await rb.map(["one", "two"])
"""
PROGRAM = """
import ast, asyncio, sys
import pandas as pd
from pydantic import BaseModel
df, rows = pd.DataFrame({"item": ["lamp", "chair"]}), [{"text": "good"}, {"text": "bad"}]
rows_of_the_server = pd.DataFrame({"text": ["a long text", "another"]}).to_parquet("prompts.parquet")
key, seen = "sk-of-the-test", []
code = compile(sys.argv[1], "lines", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
asyncio.run(eval(code))
print(len(df["answer"].dropna()), answers.cost, [type(each).__name__ for each in reviews.objects], len(seen), len(text))
print(rb.__file__)
"""
SLIM = """
import runpy, sys
for name in BLOCKED:
    sys.modules[name] = None
import roadbalancer as rb
balancer = rb.LoadBalancer([rb.Endpoint(sys.argv[1], name="m")])
print(balancer.chat([{"role": "user", "content": "Hello"}]).success)
balancer.close()
try:
    rb.run(["Hello"])
except ImportError as exc:
    print(exc)
sys.argv = ["roadbalancer", "--help"]
runpy.run_module("api_roadbalancer", run_name="__main__")
"""


class Gpu(BaseHTTPRequestHandler):
    """A model server that answers with a review, if it is asked for JSON."""

    def do_GET(self) -> None:
        self._answer({"object": "list", "data": [{"id": "llama", "object": "model"}]})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        content = '{"stars": 4, "reason": "fine"}' if "response_format" in request else "An answer."
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        self._answer(
            {"id": "1", "object": "chat.completion", "created": 1, "model": "llama", "choices": [choice], "usage": usage}
        )

    def _answer(self, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture
def gpu() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Gpu) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the programs of an environment that has the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    wheel = next(folder.glob("*.whl"))
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], check=True)
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True, capture_output=True, text=True
    )
    (Path(packages.stdout.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


@pytest.fixture
async def model(tmp_path: Path) -> Any:
    (tmp_path / "cluster").mkdir()
    cluster = Cluster(tmp_path / "cluster")
    yield await cluster.start_model("m", latency=0.01)
    cluster.end()


def run(folder: Path, *command: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_the_wheel_has_all_packages_and_nothing_else(environment: Path) -> None:
    wheel = next(environment.parents[1].glob("*.whl"))
    listed = subprocess.run([sys.executable, "-m", "zipfile", "-l", str(wheel)], check=True, capture_output=True, text=True)
    names = [line.split()[0] for line in listed.stdout.splitlines()[1:]]
    tops = {name.partition("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"roadbalancer", "api_roadbalancer", "producer_api", "workers", "jobs", "balancer", "laas_proxy_server.py"}
    assert any(name.endswith(".lua") for name in names) and "roadbalancer/py.typed" in names


def test_the_version_is_printed(environment: Path, tmp_path: Path) -> None:
    assert run(tmp_path, environment / "roadbalancer", "--version").stdout == "roadbalancer 0.1.0\n"


async def test_a_table_is_answered_on_the_command_line(environment: Path, model: ModelServer, tmp_path: Path) -> None:
    (tmp_path / "prompts.csv").write_text("text\nHello\nGood day\n")
    options = ["--prompt", "Translate: {text}", "--endpoint", model.url, "-o", "answers.parquet"]
    ended = run(tmp_path, environment / "roadbalancer", "run", "prompts.csv", *options)
    assert ended.returncode == 0, ended.stderr
    assert ["Translate: Hello" in text for text in pq.read_table(tmp_path / "answers.parquet")["answer"].to_pylist()] == [
        True,
        False,
    ]


async def test_the_lines_of_the_documentation_run_as_they_stand(
    environment: Path, cluster: Cluster, gpu: str, tmp_path: Path
) -> None:
    """From a program with a running loop; `gpu1` and `host` are found by a proxy."""
    await cluster.start_model("m", models="m")
    cluster.write_config()
    await cluster.start_worker()
    _, api = await cluster.start_api()
    folder = tmp_path / "program"
    folder.mkdir()
    async with named_hosts({"gpu1:8000": gpu, "host:4000": api}) as variables:
        variables["LLM_ENDPOINTS"] = "http://gpu1:8000/v1"
        ended = await asyncio.to_thread(run, folder, environment / "python", "-c", PROGRAM, LINES, **variables)
        assert ended.returncode == 0, ended.stderr
        printed, place = ended.stdout.splitlines()
        assert printed == "2 None ['Review', 'Review'] 2 2" and str(ROOT) not in place
        assert pq.read_table(folder / "answers.parquet").column("item").to_pylist() == ["lamp", "chair"]
        (folder / "prompts.csv").write_text("text\nHello\nGood day\n")
        ended = await asyncio.to_thread(run, folder, environment / "roadbalancer", *COMMAND, **variables)
        assert ended.returncode == 0, ended.stderr
    assert pq.read_table(folder / "answers.parquet")["text"].to_pylist() == ["Hello", "Good day"]


COMMAND = (
    "run", "prompts.csv", "--prompt", "Translate: {text}", "--endpoint", "http://gpu1:8000/v1", "-o", "answers.parquet", "--force"
)  # fmt: skip


async def test_the_library_needs_nothing_of_the_server(environment: Path, model: ModelServer, tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = [
        requirement.partition(">")[0].partition("[")[0].partition("=")[0]
        for requirement in project["optional-dependencies"]["server"]
    ]
    modules = [{"python-multipart": "python_multipart"}.get(name, name.replace("-", "_")) for name in extra]
    assert {"celery", "flower", "fastapi", "typer", "rich"} <= set(modules)
    script = SLIM.replace("BLOCKED", repr([*modules, "kombu"]))
    ended = run(tmp_path, environment / "python", "-c", script, model.url)
    assert ended.stdout.startswith("True\n"), ended.stderr
    assert "needs" in ended.stdout and "pip install 'roadbalancer[server]'" in ended.stdout
    assert ended.returncode == 1 and "the commands need: pip install 'roadbalancer[server]'" in ended.stderr


def test_the_lock_has_each_dependency_of_the_server() -> None:
    """The tests' own environment may have what users' lacks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["server"]]
    names = {re.split(r"[\[=<>; ]", requirement, maxsplit=1)[0].lower() for requirement in wanted}
    locked = {line.partition("==")[0].partition("[")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert names <= locked, sorted(names - locked)
