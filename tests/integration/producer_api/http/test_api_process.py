"""The API as a process of its own: its memory, and its end."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from live_server import PATIENCE_S, batch_line

from tests.waiting import until_blocking

MEGABYTE = 1024 * 1024
UPLOAD_BYTES = 60 * MEGABYTE
MOST_MEMORY = 300 * MEGABYTE

PROGRAM = """
import sys
from balancer.configuration import Configuration
from producer_api import run_api
from workers.messages import celery_wake
configuration = Configuration(store=sys.argv[2])
run_api(configuration, sys.argv[1], celery_wake(configuration, sys.argv[1]), "127.0.0.1", int(sys.argv[3]))
"""


@pytest.fixture
def process(redis_url: str, store_folder: Path) -> Iterator[tuple[psutil.Process, str]]:
    """A server in a process, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, redis_url, str(store_folder), str(port)])
    url = f"http://127.0.0.1:{port}"
    try:
        until_blocking(lambda: child.poll() is not None or _answers(url))
        yield psutil.Process(child.pid), url
    finally:
        child.terminate()
        child.wait(PATIENCE_S)


def test_memory_does_not_grow_with_an_upload(process: tuple[psutil.Process, str]) -> None:
    server, url = process
    before = server.memory_info().rss
    peak = _Peak(server)
    line = batch_line("c%09d", pad="x" * 3000)
    count = UPLOAD_BYTES // len(line)

    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
        for first in range(0, count, 20):
            yield b"".join(line.replace(b"c%09d", b"c%09d" % n, 1) for n in range(first, min(count, first + 20)))
        yield b'\r\n--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n'

    with peak, httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE_S) as http:
        headers = {"content-type": "multipart/form-data; boundary=b"}
        made = http.post("/v1/files", content=body(), headers=headers).json()
        assert (made["status"], made["bytes"]) == ("processed", count * len(batch_line("c000000000", pad="x" * 3000)))
        received = 0
        with http.stream("GET", f"/v1/files/{made['id']}/content") as response:
            for chunk in response.iter_bytes():
                received += len(chunk)
        assert received == made["bytes"]
    assert peak.rss < MOST_MEMORY
    assert peak.rss - before < UPLOAD_BYTES


def test_a_terminated_server_finishes_what_it_began(process: tuple[psutil.Process, str]) -> None:
    server, url = process
    head = (
        b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    body = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n--b--\r\n'
    )
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
        client.sendall(head + b"%x\r\n%b\r\n" % (10, body[:10]))
        until_blocking(lambda: any(c.status == "ESTABLISHED" for c in server.net_connections()))
        server.send_signal(signal.SIGTERM)
        until_blocking(lambda: not _answers(url))
        client.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) - 10, body[10:]))
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
    assert server.wait(PATIENCE_S) in (0, -signal.SIGTERM)


def test_a_port_that_is_taken_ends_the_program(redis_url: str, store_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = [redis_url, str(store_folder), str(taken.getsockname()[1])]
        ended = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], timeout=PATIENCE_S, capture_output=True)
    assert ended.returncode == 3
    assert b"address already in use" in ended.stderr


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


class _Peak:
    """Watches how much memory a process uses at most."""

    def __init__(self, process: psutil.Process) -> None:
        self.rss = 0
        self._process = process
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc_info: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self.rss = max(self.rss, self._process.memory_info().rss)
