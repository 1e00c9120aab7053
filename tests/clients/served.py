"""A whole Roadbalancer in processes of its own."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PATIENCE", "Server", "free_port", "roadbalancer", "roadbalancer_up", "wait_until"]

PATIENCE = 60.0
"""Seconds for a server to start, and for a batch to end: two cores may be shared by many."""


@dataclass(frozen=True)
class Server:
    """What a client has to know: `base_url` as OpenAI's clients have it."""

    base_url: str
    key: str

    @property
    def root(self) -> str:
        """The address as Anthropic's clients have it."""
        return self.base_url.removesuffix("/v1")


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
    """Return a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
