"""HTTP clients, each doing the same: many requests at once, and then taking back requests that have no answer.

Prints JSON: `cpu` is seconds of this process for a request, `rate` requests per second, `cancelled_at` the time at which the
unanswered ones were cancelled, by the machine's monotonic clock. Standard library only until a client is picked, since the
competitors run in the environment of bench/requirements.txt.
"""

import argparse
import asyncio
import json
import os
import resource
import signal
import ssl
import time
from collections.abc import Awaitable, Callable

__all__: list[str] = []

BODY = json.dumps({"model": "simulated", "messages": [{"role": "user", "content": "x" * 330}]}).encode()
HEADERS = {"content-type": "application/json", "authorization": "Bearer none"}
TIMEOUT = 600.0
LEFT_ALONE = 3.0
"""Seconds for which this process lives on after it has cancelled its requests."""
Ask = Callable[[str], Awaitable[int]]
"""Sends a request, reads the whole answer, and returns its status."""


def ours() -> Ask:
    """The project's own."""
    from balancer.http import PooledClient, PreparedRequest

    client, prepared = PooledClient(), {}  # type: ignore[var-annotated]

    async def ask(url: str) -> int:
        if url not in prepared:
            prepared[url] = PreparedRequest("POST", url, HEADERS)
        return (await client.send(prepared[url], BODY, TIMEOUT)).status

    return ask


def aiohttp() -> Ask:
    """aiohttp, with as many connections as it wants."""
    import aiohttp  # type: ignore[import-not-found]

    trusted = ssl.create_default_context()
    connector = aiohttp.TCPConnector(limit=0, ssl=trusted)
    session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(TIMEOUT))

    async def ask(url: str) -> int:
        async with session.post(url, data=BODY, headers=HEADERS) as response:
            await response.read()
            return int(response.status)

    return ask


def pyreqwest() -> Ask:
    """pyreqwest, over hyper."""
    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder()
    if path := os.environ.get("SSL_CERT_FILE"):
        with open(path, "rb") as file:
            builder = builder.add_root_certificate_pem(file.read())
    client = builder.build()

    async def ask(url: str) -> int:
        request = client.post(url).headers(HEADERS).body_bytes(BODY)
        async with request.build_streamed() as response:
            await response.body_reader.read(32 * 1024 * 1024)
            return int(response.status)

    return ask


CLIENTS: dict[str, Callable[[], Ask]] = {"ours": ours, "aiohttp": aiohttp, "pyreqwest": pyreqwest}


async def _measure(options: argparse.Namespace) -> dict[str, float]:
    ask, has_them_all = CLIENTS[options.client](), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, has_them_all.set)
    await _send(ask, options.url, options.in_flight, 2 * options.in_flight)
    cpu, started = _cpu(), time.perf_counter()
    await _send(ask, options.url, options.in_flight, options.requests)
    seconds, cpu = time.perf_counter() - started, _cpu() - cpu
    unanswered = [asyncio.ensure_future(ask(options.silent)) for _ in range(options.in_flight)]
    await has_them_all.wait()
    cancelled_at = time.monotonic()
    for task in unanswered:
        task.cancel()
    await asyncio.wait(unanswered, timeout=LEFT_ALONE)
    return {"cpu": cpu / options.requests, "rate": options.requests / seconds, "cancelled_at": cancelled_at}


async def _send(ask: Ask, url: str, in_flight: int, requests: int) -> None:
    turns = iter(range(requests))

    async def work() -> None:
        for _ in turns:
            status = await ask(url)
            if status != 200:
                raise RuntimeError(f"HTTP {status}")

    await asyncio.gather(*(work() for _ in range(in_flight)))


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Run as a program, and live on for a while, so that it is not its end that closes the connections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("url", help="answers at once")
    parser.add_argument("silent", help="never answers; SIGUSR1 says that it has all requests")
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--requests", type=int, required=True)
    options = parser.parse_args()
    import uvloop

    found = uvloop.run(_measure(options))
    time.sleep(LEFT_ALONE)  # lives on: the bench looks whether the connections close without its end
    print(json.dumps(found))


if __name__ == "__main__":
    main()
