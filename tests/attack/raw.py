"""Attacks on bare sockets, and the watch that is kept meanwhile."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import httpx

__all__ = ["HALF_OPEN", "HEADS", "MB", "Watch", "brackets", "half_open", "send_endless"]

MB = 1024 * 1024
HOST = b"Host: 127.0.0.1\r\n"
HEADS = {
    "headers": (b"GET / HTTP/1.1\r\n" + HOST, b"X-A: " + b"a" * 8000 + b"\r\n", 12_000),
    "header": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: ", b"a" * 65536, 1000),
    "url": (b"GET /", b"a" * 65536, 1000),
}
"""Heads without end: 100 MB of headers, one header and one URL of 60 MB. How they begin, a piece, and how many of it."""
HALF_OPEN = 2000
"""Connections that are opened at once, each of which begins a head."""
GROWTH = 50 * MB
"""By how much memory may grow under an attack."""
SLOWEST = 0.2
"""Seconds that `/health` may take meanwhile."""
PAUSE = 0.02


@dataclass
class Watch:
    """Asks `/health` at the URL `api` all the while, and how much `memory` (bytes) its process has, from `start` to `stop`."""

    api: str
    memory: Callable[[], int]
    before: int = 0
    slowest: float = 0.0
    largest: int = 0
    task: "asyncio.Task[None] | None" = None
    stopped: bool = False

    def start(self) -> None:
        self.before = self.memory()
        self.task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Watch no more, when the question under way is answered. Raises what went wrong meanwhile: the server was gone."""
        self.stopped = True
        if self.task is not None:
            await self.task

    async def _watch(self) -> None:
        with httpx.Client(trust_env=False, timeout=5, limits=httpx.Limits(max_keepalive_connections=0)) as client:
            while not self.stopped:
                began = time.monotonic()
                answer = await asyncio.to_thread(client.get, f"{self.api}/health")
                answer.raise_for_status()
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.largest = max(self.largest, self.memory())
                await asyncio.sleep(PAUSE)

    async def withstands(self, attack: Callable[[], Awaitable[bytes]]) -> bytes:
        """Carry an attack out and return what the last connection was answered. Raises AssertionError.

        It is repeated, twice at most, if `/health` took long: what holds the server up does so each time, and a busy machine
        does not.
        """
        for _ in range(3):
            self.slowest = 0.0
            answer = await attack()
            assert self.largest - self.before < GROWTH, f"memory grew by {(self.largest - self.before) // MB} MB"
            if self.slowest < SLOWEST:
                return answer
        raise AssertionError(f"/health took {self.slowest:.3f} s")


async def send_endless(port: int, head: bytes, piece: bytes, times: int) -> bytes:
    """Send a head and pieces until the server has had enough, and return what it says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with suppress(ConnectionError):
        writer.write(head)
        for _ in range(times):
            writer.write(piece)
            await writer.drain()
    try:
        return await asyncio.wait_for(reader.read(4096), 20)
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def half_open(port: int, count: int = HALF_OPEN) -> bytes:
    """Open connections, begin a head on each, and return what the last one is answered. (In a thread, beside the watch.)"""
    with ExitStack() as opened:
        for _ in range(count):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127")
        connection.settimeout(15)
        return connection.recv(100)


def brackets(path: str, headers: bytes = b"") -> tuple[bytes, bytes]:
    """Return head and body of a request of 9 MB whose JSON would take a hundred times as much memory."""
    body = b'{"messages":[' + b"[]," * (3 * MB) + b"[]]}"
    head = b"POST %b HTTP/1.1\r\n%b%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (path.encode(), HOST, headers, len(body)), body
