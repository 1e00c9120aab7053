"""What a request costs with several HTTP clients, and how soon an aborted one is gone from its server."""

import asyncio
import logging
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from api_roadbalancer.processes.ports import free_port
from bench.benchmarks.base import Benchmark
from bench.environment import competitors_python
from bench.processes import until
from bench.results import Figure, at_most
from bench.stage import Stage, measured

__all__ = ["BENCHMARK"]

CLIENTS = ("ours", "aiohttp", "pyreqwest")
MICRO = 1e6
WAIT_SECONDS = 60.0
LEFT_ALONE = 3.0
"""Seconds after which a client that has not closed the connections is taken never to do so (see `http_clients`)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Size:
    in_flight: tuple[int, ...]
    requests: int


FULL = _Size((100, 1000), 30_000)
QUICK = _Size((10,), 200)


@dataclass(slots=True)
class _Silent:
    """A server that reads requests and never answers."""

    port: int = 0
    requests: int = 0
    closed_at: list[float] = field(default_factory=list)


async def _measure(quick: bool) -> list[Figure]:
    size = QUICK if quick else FULL
    figures: list[Figure] = []
    with Stage() as stage:
        plain = (await stage.model_server("m")).url
        certificate = _certificate(stage.folder)
        port = free_port()
        stage.start("TLS server", "-m", "bench.tls_server", str(certificate), str(port))
        await until(lambda: _listens(port), WAIT_SECONDS, "the TLS server")
        for what, url, certificates in (("", plain, ""), (" over TLS", f"https://127.0.0.1:{port}/v1", str(certificate))):
            for in_flight in size.in_flight:
                for client in CLIENTS:
                    where = f"{in_flight:,} in flight{what}"
                    figures += await _one(stage, client, url, where, in_flight, size.requests, certificates)
    return figures


async def _one(stage: Stage, client: str, url: str, what: str, in_flight: int, requests: int, certificates: str) -> list[Figure]:
    log.info("%s, %s", client, what)
    python = sys.executable if client == "ours" else str(await competitors_python())
    async with _silent_server() as silent:
        arguments = [client, f"{url}/chat/completions", f"http://127.0.0.1:{silent.port}/v1/chat/completions"]
        options = ["--in-flight", str(in_flight), "--requests", str(requests)]
        variables = {"SSL_CERT_FILE": certificates} if certificates else {}
        name = f"{client} {what}"
        process = stage.start(name, python, "-m", "bench.competitors.http_clients", *arguments, *options, variables=variables)
        await until(lambda: silent.requests >= in_flight or not process.is_running, WAIT_SECONDS, f"the requests of {name}")
        process.handle.send_signal(signal.SIGUSR1)
        found = await measured(process)
    deadline = found["cancelled_at"] + LEFT_ALONE
    gone = [at for at in silent.closed_at if at < deadline]
    took = max(gone) - found["cancelled_at"] if len(gone) == in_flight else None
    return [
        Figure(f"{client}, CPU, {what}", found["cpu"] * MICRO, "µs", note=f"{found['rate']:,.0f} requests/s"),
        Figure(
            f"{client}, all aborted, {what}",
            None if took is None else took,
            "s",
            at_most(1) if client == "ours" else None,
            note="" if took is not None else f"{in_flight - len(gone)} stayed until the process ended",
        ),
    ]


@asynccontextmanager
async def _silent_server() -> AsyncIterator[_Silent]:
    silent = _Silent()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            silent.requests += 1
            while await reader.read(65536):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client is gone, which is what is waited for
        silent.closed_at.append(time.monotonic())
        writer.close()

    async with await asyncio.start_server(swallow, "127.0.0.1", 0, backlog=2048) as server:
        silent.port = server.sockets[0].getsockname()[1]
        yield silent


def _certificate(folder: Path) -> Path:
    """Make a certificate for 127.0.0.1, with its key in the same file."""
    path, key = folder / "tls.pem", folder / "key.pem"
    names = ["-subj", "/CN=loopback", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(path), *names], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


BENCHMARK = Benchmark("abort", "what a request costs with several HTTP clients, and how soon it is aborted", _measure, 900.0)
