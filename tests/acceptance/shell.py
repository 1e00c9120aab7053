"""Runs the commands as a user does."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import yaml

from tests.acceptance.prefork import Prefork, PreforkedProcess

__all__ = ["COMMAND", "Shell"]

COMMAND = [sys.executable, "-m", "api_roadbalancer"]


class Shell:
    """Runs commands in a folder with a configuration of its own."""

    def __init__(self, folder: Path, prefork: Prefork) -> None:
        self.folder = folder
        self._prefork = prefork
        self._count = 0
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("LLM_", "ROADBALANCER_", "OPENAI_"))}

    def __call__(self, *arguments: str, seconds: float = 60) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end. Raises subprocess.TimeoutExpired, and kills it, after that many seconds."""
        self._count += 1
        said, errors = (self.folder.with_name(f"{self.folder.name}.{self._count}.{stream}") for stream in ("out", "err"))
        running = self._prefork.start([*COMMAND, *arguments], self.environment, said, errors, self.folder)
        try:
            code = running.wait(seconds)
        except subprocess.TimeoutExpired:
            running.kill()
            raise
        return subprocess.CompletedProcess(arguments, code, said.read_text(), errors.read_text())

    def begin(self, *arguments: str) -> PreforkedProcess:
        """Start a command; what it prints is added to `begun.log`."""
        return self._prefork.start([*COMMAND, *arguments], self.environment, self.folder / "begun.log", folder=self.folder)

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def configure(self, **settings: Any) -> None:
        self.write("config.yaml", yaml.safe_dump({"store": "store", **settings}))
        self.environment["ROADBALANCER_CONFIG"] = "config.yaml"

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in (self.folder / name).read_bytes().splitlines()]
