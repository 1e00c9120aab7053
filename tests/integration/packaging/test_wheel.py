"""The wheel in an environment of its own, outside of the checkout; its dependencies are those of the test environment."""

import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.acceptance.cluster import Cluster, ModelServer

ROOT = Path(__file__).parents[3]
LINES = """
import pandas as pd
import roadbalancer as rb
df = pd.DataFrame({"item": ["lamp", "chair"]})
answers = rb.run(df, prompt="Describe {item} in a sentence.", endpoints=["http://gpu1:8000/v1"], model="llama", max_cost=5)
df["answer"] = answers.text
answers.cost; answers.to_parquet("answers.parquet")
print(len(df), rb.__file__)
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


def run(folder: Path, *command: str | Path) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_the_wheel_has_all_packages_and_nothing_else(environment: Path) -> None:
    wheel = next(environment.parents[1].glob("*.whl"))
    listed = subprocess.run([sys.executable, "-m", "zipfile", "-l", str(wheel)], check=True, capture_output=True, text=True)
    names = [line.split()[0] for line in listed.stdout.splitlines()[1:]]
    tops = {name.partition("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"roadbalancer", "api_roadbalancer", "producer_api", "workers", "jobs", "balancer", "laas_proxy_server.py"}
    assert any(name.endswith(".lua") for name in names) and "roadbalancer/py.typed" in names


def test_the_version_is_told(environment: Path, tmp_path: Path) -> None:
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


async def test_the_lines_of_the_documentation_run_as_they_stand(environment: Path, model: ModelServer, tmp_path: Path) -> None:
    ended = run(tmp_path, environment / "python", "-c", LINES.replace("http://gpu1:8000/v1", model.url))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("2 ") and str(ROOT) not in ended.stdout
    assert pq.read_table(tmp_path / "answers.parquet").num_rows == 2


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
