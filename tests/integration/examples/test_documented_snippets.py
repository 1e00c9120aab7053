"""What the pages for programmers show is run, with simulated servers in the place of the machines that they name."""

import re
from pathlib import Path
from typing import Any

import pytest

from api_roadbalancer.mock import MockServer

DOCS = Path(__file__).parents[3] / "docs"
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_page(page: str, replaced: dict[str, str]) -> int:
    """Run a page's snippets one after another, as a reader would, and return their number."""
    names: dict[str, Any] = {"__name__": "__main__"}
    snippets = SNIPPET.findall((DOCS / page).read_text())
    for number, snippet in enumerate(snippets):
        for shown, real in replaced.items():
            snippet = snippet.replace(shown, real)
        exec(compile(snippet, f"{page}, snippet {number}", "exec"), names)
    return len(snippets)


@pytest.fixture
def replaced(two_mocks: list[MockServer], start_mock: Any, redis_url: str, fleet_file: Path) -> dict[str, str]:
    third = start_mock()
    gpus = {f"http://gpu{n}:8000/v1": server.url for n, server in enumerate([*two_mocks, third], start=1)}
    return gpus | {"redis://127.0.0.1:6379/0": redis_url, "fleet.yaml": str(fleet_file)}


def test_the_load_balancers_page_works(replaced: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_page("load_balancer.md", replaced) == 7

    said = capsys.readouterr().out
    assert "Simulated answer to: Hello!. GPU-" in said
    assert said.count("Simulated answer to: Count to five..") == 1
    assert "10 answers" in said
    assert "1 100.00% 2/2" in said
    assert "True\nGPU-" in said  # removed; then shared through Redis
    assert "must be an http:// or https:// address" in said
    assert "False [('127.0.0.1:9', 'connection_error:" in said


def test_the_page_on_ones_own_class_works(replaced: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_page("custom_llm.md", replaced) == 2

    said = capsys.readouterr().out
    assert said.count("Simulated answer to: Name a river..") == 2
    assert said.count("Simulated answer to: Count to five..") == 2
    assert "'output_tokens': 6" in said


@pytest.mark.parametrize("page", ["load_balancer.md", "custom_llm.md"])
def test_every_file_that_the_page_points_to_is_there(page: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", (DOCS / page).read_text())

    assert targets
    assert [target for target in targets if not (DOCS / target).exists()] == []
