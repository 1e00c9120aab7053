"""What the pages for newcomers show as "After" is run, with simulated endpoints in the place of the machines that they name."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import KEY, free_port, roadbalancer, roadbalancer_up

DOCS = Path(__file__).parents[2] / "docs"
ADDRESS = "http://127.0.0.1:4000/v1"
ROADBALANCER = Path(os.environ["ROADBALANCER"])
PATIENCE = 100
"""Seconds for one snippet."""


@dataclass(frozen=True)
class Page:
    """The last configuration of a page, its example input, and what it shows below "After"."""

    config: str
    requests: str
    programs: list[str]
    commands: list[str]


def read_page(name: str, model_servers: list[str]) -> Page:
    """Read a page, with real addresses for `gpu1` and so on."""
    text = (DOCS / name).read_text()
    after = "".join(re.findall(r"^## After.*?(?=^## What maps)", text, re.MULTILINE | re.DOTALL))
    config = _blocks(text, "yaml")[-1]
    for number, address in enumerate(model_servers, start=1):
        config = config.replace(f"http://gpu{number}:8000/v1", address)
    requests = "".join(block for block in _blocks(text, "") if block.startswith('{"custom_id"'))
    commands = re.findall(r"^    ((?:echo|roadbalancer run) .*)$", after, re.MULTILINE)
    return Page(config, requests, _blocks(after, "python"), commands)


def run_page(page: Page, folder: Path, key: str) -> list[str]:
    """Run a page's commands, then its programs, and return what each of them printed. `key` "": the server asks for none."""
    work, up = folder / "work", folder / "up"
    for path in (work, up):
        path.mkdir()
    (work / "fleet.yaml").write_text(page.config)
    (work / "config.yaml").write_text(page.config)
    (work / "requests.jsonl").write_text(page.requests)
    said = [_run(["sh", "-c", command], work) for command in page.commands]
    with roadbalancer_up(up, page.config, key) as server:
        for program in page.programs:
            # The library is in the project's own environment, the SDK in this one.
            python = ROADBALANCER.parent / "python" if "import AsyncLoadBalancer" in program else sys.executable
            said.append(_run([str(python), "-c", program.replace(ADDRESS, server.base_url)], work))
    return said


@pytest.fixture(scope="module")
def model_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The addresses of three simulated servers."""
    folder = tmp_path_factory.mktemp("models")
    with ExitStack() as stack:
        addresses = []
        for port in (free_port(), free_port(), free_port()):
            stack.enter_context(roadbalancer(["mock", "--port", str(port)], port, folder, {}))
            addresses.append(f"http://127.0.0.1:{port}/v1")
        yield addresses


def test_the_page_on_openais_batches_works(tmp_path: Path, model_servers: list[str]) -> None:
    (batch,) = run_page(read_page("moving_from_openai_batch.md", model_servers), tmp_path, "")
    assert batch == "completed 2 answers\n"


def test_the_page_on_litellms_proxy_works(tmp_path: Path, model_servers: list[str]) -> None:
    _, job, chat = run_page(read_page("moving_from_litellm_proxy.md", model_servers), tmp_path, KEY)
    assert "1 of 1 lines completed" in job
    assert "Simulated answer to: Hello!" in chat


def test_the_page_on_loops_works(tmp_path: Path, model_servers: list[str]) -> None:
    bulk, library, gateway = run_page(read_page("moving_from_asyncio.md", model_servers), tmp_path, "")
    assert re.findall(r"^n-(\d+) .*number \1\b", bulk, re.MULTILINE) == [str(number) for number in range(1000)]
    assert library.count("Simulated answer to: Shorter.") == 100
    assert gateway.count("Simulated answer to: Write a sentence") == 100


def _blocks(text: str, language: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for label, block in blocks if label == language]


def _run(command: list[str], folder: Path) -> str:
    environment = {"PATH": f"{ROADBALANCER.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder), "GATEWAY_KEY": KEY}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
