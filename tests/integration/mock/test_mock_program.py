"""The server as a program of its own, on whichever event loop it finds."""

from __future__ import annotations

import importlib
import pkgutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from api_roadbalancer import mock
from api_roadbalancer.mock.__main__ import main

READY = "mock server listening on "
WITHOUT_UVLOOP = "import sys; sys.modules['uvloop'] = None; from api_roadbalancer.mock.__main__ import main; main()"

LOOPS = {"as found": ["-m", "api_roadbalancer.mock"], "asyncio": ["-c", WITHOUT_UVLOOP]}


@contextmanager
def program(loop: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its base URL."""
    command = [sys.executable, *LOOPS[loop], "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(READY)
            yield process, line.removeprefix(READY).strip()
        finally:
            process.kill()


@pytest.mark.parametrize("loop", LOOPS)
def test_the_program_serves_what_its_options_say(loop: str) -> None:
    with (
        program(loop, "--models", "a,b", "--no-track-keys", "--latency", "0.01", "--fail-custom", "x1,x2") as (_, url),
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        behaviour = client.get("/mock/behaviour").json()
        assert (behaviour["models"], behaviour["fail_custom"]) == (["a", "b"], ["x1", "x2"])
        assert (behaviour["track_keys"], behaviour["latency"]) == (False, 0.01)
        body = {"model": "a", "messages": [{"role": "user", "content": "Hi"}]}
        assert client.post("/chat/completions", json=body).json()["model"] == "a"
        assert client.get("/mock/stats").json()["completed"] == 1


@pytest.mark.parametrize("loop", LOOPS)
def test_connections_are_cut_and_counted_on_either_loop(loop: str) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    with (
        program(loop, "--fault", "reset_mid_body") as (_, url),
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        with pytest.raises(httpx.ReadError):
            client.post("/chat/completions", json=body)
        client.post("/mock/behaviour", json={"fault": "close"})
        with pytest.raises(httpx.RemoteProtocolError):
            client.post("/chat/completions", json=body)
        stats = client.get("/mock/stats").json()
        assert (stats["errors"], stats["by_status"]) == (2, {"closed": 1, "200": 1})
        client.post("/mock/behaviour", json={"fault": "hang"})
        with pytest.raises(httpx.ReadTimeout):
            client.post("/chat/completions", json=body, timeout=0.05)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_quietly_with_requests_in_flight(loop: str, name: signal.Signals) -> None:
    with program(loop, "--fault", "hang") as (process, url):
        port = int(url.rsplit(":")[-1].removesuffix("/v1"))
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
            connection.recv(1024)
            process.send_signal(name)
            _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--error-rate", "2"], "error_rate: must be a share between 0 and 1"),
        (["--port", "1", "--host", "203.0.113.1"], "address"),  # not one of this machine's
    ],
)
def test_what_it_cannot_do_is_said_in_one_line(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("mock server: ")
    assert reason in message
    assert message.count("\n") == 1


def test_every_exported_name_exists() -> None:
    modules = [f"{mock.__name__}.{found.name}" for found in pkgutil.iter_modules(mock.__path__)]
    for name in (mock.__name__, *modules):
        module = importlib.import_module(name)
        missing = [export for export in module.__all__ if not hasattr(module, export)]
        assert not missing, name
