"""Runs the commands as a user does."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import yaml

__all__ = ["COMMAND", "Shell"]

COMMAND = [sys.executable, "-m", "api_roadbalancer"]


class Shell:
    """Runs commands in a folder with a configuration of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("LLM_", "ROADBALANCER_", "OPENAI_"))}

    def __call__(self, *arguments: str, seconds: float = 60) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*COMMAND, *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=seconds
        )

    def begin(self, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self.folder / "begun.log").open("wb") as log:
            return subprocess.Popen([*COMMAND, *arguments], cwd=self.folder, env=self.environment, stdout=log, stderr=log)

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def configure(self, **settings: Any) -> None:
        self.write("config.yaml", yaml.safe_dump({"store": "store", **settings}))
        self.environment["ROADBALANCER_CONFIG"] = "config.yaml"

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in (self.folder / name).read_bytes().splitlines()]
