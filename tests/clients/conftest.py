"""A whole Roadbalancer in processes of its own, with one simulated endpoint and one API key."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

MODEL = "simulated"
KEY = "a-key-of-this-server"
CONFIG = f"""\
endpoints:
  - {{name: one, url: "mock://one?latency=0.02", models: [{MODEL}], price: {{input: 1, output: 2}}}}
"""
PATIENCE = 60.0
"""Seconds for a server to start, and for a batch to end: two cores may be shared by many."""
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Server:
    """What a client has to know: `base_url` as OpenAI's clients have it."""

    base_url: str
    key: str

    @property
    def root(self) -> str:
        """The address as Anthropic's clients have it."""
        return self.base_url.removesuffix("/v1")


def pytest_report_header() -> str:
    """Say which clients are checked."""
    node = _said([str(BIN / "node"), "--version"])
    openai_node = _said([str(BIN / "node"), "-p", "require('openai/version').VERSION"], Path(__file__).parent)
    anthropic_node = _said([str(BIN / "node"), "-p", "require('@anthropic-ai/sdk/version').VERSION"], Path(__file__).parent)
    curl = _said(["curl", "--version"]).split()[1]
    python = ", ".join(f"{name} {version(name)}" for name in ("openai", "anthropic", "langchain-openai", "llm"))
    for_node = f"openai {openai_node} and anthropic {anthropic_node} for Node ({node})"
    return f"clients: {python}, {for_node}, curl {curl}"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that all clients ask."""
    with roadbalancer_up(tmp_path_factory.mktemp("up"), CONFIG, KEY) as server:
        yield server


@contextmanager
def roadbalancer_up(folder: Path, config: str, key: str) -> Iterator[Server]:
    """Run `roadbalancer up` in `folder` on a free port, with an API key if `key` is not empty."""
    (folder / "fleet.yaml").write_text(config)
    port = free_port()
    arguments = f"up --config fleet.yaml --port {port} --flower-port 0 --workers 1".split()
    with roadbalancer(arguments, port, folder, {"ROADBALANCER_API_KEYS": key} if key else {}):
        yield Server(f"http://127.0.0.1:{port}/v1", key)


@contextmanager
def roadbalancer(arguments: list[str], port: int, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a command that serves `port`. ROADBALANCER names the program, which is in another environment."""
    command = [os.environ["ROADBALANCER"], *arguments]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), **environment}
    log = folder / f"{arguments[0]}-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: process.poll() is not None or _is_served(port))
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def run_node(script: str, *arguments: str, **variables: str) -> Any:
    """Run a script of the folder `node`, and return the JSON that it prints."""
    command = [str(BIN / "node"), str(Path(__file__).parent / "node" / script), *arguments]
    done = subprocess.run(
        command, env={"PATH": os.environ["PATH"], **variables}, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask again and again, as a user of the clients would. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE:g} s in vain")
        time.sleep(0.05)


def _is_served(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _said(command: list[str], folder: Path | None = None) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
