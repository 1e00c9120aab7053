"""One simulated endpoint and one API key for all clients."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from served import PATIENCE, Server, free_port, roadbalancer, roadbalancer_up, wait_until

__all__ = ["KEY", "MODEL", "PATIENCE", "Server", "free_port", "roadbalancer", "roadbalancer_up", "run_node", "wait_until"]

MODEL = "simulated"
KEY = "a-key-of-this-server"
CONFIG = f"""\
endpoints:
  - {{name: one, url: "mock://one?latency=0.02", models: [{MODEL}], price: {{input: 1, output: 2}}}}
"""
BIN = Path(sys.executable).parent


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


def run_node(script: str, *arguments: str, **variables: str) -> Any:
    """Run a script of the folder `node`, and return the JSON that it prints."""
    command = [str(BIN / "node"), str(Path(__file__).parent / "node" / script), *arguments]
    done = subprocess.run(
        command, env={"PATH": os.environ["PATH"], **variables}, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _said(command: list[str], folder: Path | None = None) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
