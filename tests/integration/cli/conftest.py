"""Commands that work with the server of the tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from api_roadbalancer.cli.main import app


@pytest.fixture
def command(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command, given by its arguments, in an empty folder."""
    monkeypatch.setenv("ROADBALANCER_REDIS_URL", redis_url)
    monkeypatch.setenv("ROADBALANCER_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("LLM_ENDPOINTS", "http://127.0.0.1:1/v1")
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))
