"""The command `llm`, as it comes: the server stands in its extra-openai-models.yaml."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import BIN, MODEL, Server

MODELS = """\
- model_id: road
  model_name: {model}
  api_base: {base_url}
  api_key_name: road
"""


@pytest.fixture
def llm_folder(server: Server, tmp_path: Path) -> Path:
    (tmp_path / "extra-openai-models.yaml").write_text(MODELS.format(model=MODEL, base_url=server.base_url))
    (tmp_path / "keys.json").write_text(json.dumps({"road": server.key}))
    return tmp_path


@pytest.mark.parametrize("options", [[], ["--no-stream"], ["--async"]], ids=["streamed", "whole", "asynchronous"])
def test_a_prompt_is_answered_and_its_tokens_are_reported(llm_folder: Path, options: list[str]) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(llm_folder), "LLM_USER_PATH": str(llm_folder)}
    command = [str(BIN / "llm"), "-m", "road", "--usage", *options, "Name three rivers."]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Name three rivers." in done.stdout
    assert "Token usage" in done.stderr
