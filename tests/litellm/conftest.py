"""A LaaS on loopback, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))  # for `tests.media`

KEY = "key-of-a-test-0123456789"
PROJECT = "PROJECT-1"
HASH = "b3f1c0"
"""What the server wants, as `tests/fake_providers` has it."""


@pytest.fixture(scope="session")
def laas() -> Iterator[str]:
    """The address of a LaaS that answers with what it has received: see `laas_server.py`."""
    python = os.environ["FAKE_PROVIDERS_PYTHON"]
    with subprocess.Popen(
        [python, str(HERE / "laas_server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        address = server.stdout.readline().strip()
        assert address, "the server has ended"
        yield f"{address}/api/preset/v2"
        server.stdin.close()


@pytest.fixture(scope="session")
def laas_environment(laas: str) -> dict[str, str]:
    """The environment that points LiteLLM's handler there."""
    return {
        "LAAS_BASE_URL": laas,
        "LAAS_API_KEY": KEY,
        "LAAS_PROJECT_CODE": PROJECT,
        "LAAS_PRESET_HASH": HASH,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
