"""A Roadbalancer over Claude and Gemini, which frameworks ask as if it were OpenAI."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Server, roadbalancer_up

ROOT = Path(__file__).parents[2]
KEY = "a-key-of-this-server"
PROVIDERS_KEY = "key-of-a-test-0123456789"
MODELS = ["claude-sonnet-5-5", "gemini-3.8-flash"]
CONFIG = """\
endpoints:
  - {{name: claude, provider: anthropic, url: "{claude}", api_key: {key}, models: [claude-sonnet-5-5], drop_params: true}}
  - {{name: gemini, provider: gemini, url: "{gemini}", api_key: {key}, models: [gemini-3.8-flash], drop_params: true}}
"""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that all frameworks ask. FAKE_PROVIDERS_PYTHON is the project's Python."""
    command = [os.environ["FAKE_PROVIDERS_PYTHON"], "-m", "tests.frameworks.provider_servers"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as providers:
        assert providers.stdin is not None and providers.stdout is not None
        urls = json.loads(providers.stdout.readline())
        config = CONFIG.format(key=PROVIDERS_KEY, **urls)
        with roadbalancer_up(tmp_path_factory.mktemp("up"), config, KEY) as server:
            yield server
        providers.stdin.close()


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)
