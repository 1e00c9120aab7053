"""The asyncio loop that people write: N requests in flight, each answer appended to a file.

Standard library only, since it also runs in the environment of bench/requirements.txt. uvloop and orjson are used where they are
installed (they are, in both), which favours the loops.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

try:
    import orjson as json
except ImportError:
    import json  # type: ignore[no-redef]

__all__ = ["Client", "main"]


class Client(Protocol):
    """Something that sends chat requests."""

    async def ask(self, body: dict[str, Any]) -> bytes:
        """Send a request and return the answer as JSON on one line. Raises whatever goes wrong: then there is no figure."""

    async def aclose(self) -> None:
        """Close the connections."""


def main(connect: Callable[[str, int], Awaitable[Client]]) -> None:
    """Run the loop as a program. `connect` takes the base URL and the number in flight."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url", help="base URL, with /v1")
    parser.add_argument("source", type=Path, help="file of OpenAI batch lines")
    parser.add_argument("out", type=Path)
    parser.add_argument("--lines", type=int, required=True, help="how many lines of the file")
    parser.add_argument("--in-flight", type=int, default=100)
    arguments = parser.parse_args()
    seconds, cpu = _run(_measure(connect, arguments))
    print(f'{{"seconds": {seconds}, "cpu": {cpu}}}')


async def _measure(connect: Callable[[str, int], Awaitable[Client]], arguments: argparse.Namespace) -> tuple[float, float]:
    """Return the seconds from the first read line until the last answer is on the disk, and those of the processor meanwhile."""
    client = await connect(arguments.url, arguments.in_flight)
    started, cpu_before = time.perf_counter(), time.process_time()
    with arguments.source.open("rb") as source, arguments.out.open("wb") as out:
        numbered = zip(range(arguments.lines), source, strict=False)

        async def work() -> None:
            for _, raw in numbered:
                line = json.loads(raw)
                answer = await client.ask(line["body"])
                out.write(b'{"custom_id":"%b","response":%b}\n' % (line["custom_id"].encode(), answer))

        await asyncio.gather(*(work() for _ in range(arguments.in_flight)))
        out.flush()
        os.fsync(out.fileno())
    found = time.perf_counter() - started, time.process_time() - cpu_before
    await client.aclose()
    return found


def _run(work: Any) -> tuple[float, float]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)  # type: ignore[no-any-return]
    return uvloop.run(work)  # type: ignore[no-any-return]
