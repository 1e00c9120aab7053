"""`python -m bench.http_load`: sends one chat request over and over and prints, as JSON, how it went. Every answer is checked.

A process of its own, with an event loop in C and a parser in C, so that the load is not what is measured.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from statistics import median

from balancer.runtime.loop import new_event_loop
from bench.http_connection import Answer, Connection, post
from bench.processes import cpu_seconds

__all__ = ["KEY_VARIABLE", "WrongAnswer", "alternate", "main", "together"]

KEY_VARIABLE = "BENCH_API_KEY"
"""The variable with the API key that each request brings."""
SHOWN = 300
"""Characters of a wrong answer that are shown."""


class WrongAnswer(Exception):
    """A server answered, but not with what was asked for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one kind of load. Return 1, with the reason on the last line, if an answer was wrong or lost."""
    options = _parser().parse_args(arguments)
    loop = new_event_loop()
    try:
        found = loop.run_until_complete(options.load(options))
    except (WrongAnswer, OSError) as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr)
        return 1
    finally:
        loop.close()
    print(json.dumps(found))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.http_load", description=__doc__)
    kinds = parser.add_subparsers(required=True)
    many = kinds.add_parser("together", help="many in flight: requests per second, and CPU seconds of the server for each")
    many.set_defaults(
        load=lambda options: together(options.url, options.in_flight, options.requests, options.seconds, options.pid)
    )
    many.add_argument("url", help="base URL, with /v1")
    many.add_argument("--in-flight", type=int, required=True)
    many.add_argument("--requests", type=int, required=True)
    many.add_argument("--seconds", type=float, required=True, help="nothing more is sent after them")
    many.add_argument("--pid", type=int, required=True, help="the server's process")
    one = kinds.add_parser("alternate", help="one at a time, to two servers in turn: the median time of each, in seconds")
    one.set_defaults(load=lambda options: alternate((options.direct, options.through), options.requests, options.stream))
    one.add_argument("direct", help="base URL, with /v1")
    one.add_argument("through", help="the other one")
    one.add_argument("--requests", type=int, required=True, help="to each")
    one.add_argument("--stream", action="store_true", help="ask for a stream, and take the time to its first chunk")
    return parser


async def together(url: str, in_flight: int, requests: int, seconds: float, pid: int) -> dict[str, float]:
    """Send `requests` requests over `in_flight` connections, fewer if the time is over before. Raises WrongAnswer, OSError.

    Each connection sends one request before the clock starts.
    """
    address, request = _chat(url, stream=False)
    connections = [await Connection.to(address) for _ in range(in_flight)]
    try:
        await _send(connections, request, iter(range(in_flight)))
        cpu, started = cpu_seconds(pid), time.perf_counter()
        sent = await _send(connections, request, _until(started + seconds, requests))
        took = time.perf_counter() - started
        return {"requests": sent, "rate": sent / took, "cpu": (cpu_seconds(pid) - cpu) / sent}
    finally:
        for connection in connections:
            connection.close()


async def _send(connections: Sequence[Connection], request: bytes, turns: Iterator[int]) -> int:
    """Send a request for each turn, one at a time on each connection; return how many were answered."""

    async def work(connection: Connection) -> int:
        answered = 0
        for _ in turns:
            _check(await connection.ask(request), stream=False)
            answered += 1
        return answered

    return sum(await asyncio.gather(*map(work, connections)))


def _until(deadline: float, most: int) -> Iterator[int]:
    for turn in range(most):
        if time.perf_counter() >= deadline:
            return
        yield turn


async def alternate(urls: tuple[str, str], requests: int, stream: bool) -> dict[str, float]:
    """Send `requests` requests to each of two servers in turn, so that both meet the machine in the same state.

    A tenth as many (at least one) come before and don't count. Raises WrongAnswer, OSError.
    """
    asked = [_chat(url, stream) for url in urls]
    connections = [await Connection.to(address) for address, _ in asked]
    times: tuple[list[float], list[float]] = ([], [])
    warm_up = max(1, requests // 10)
    try:
        for number in range(warm_up + requests):
            for connection, (_, request), found in zip(connections, asked, times, strict=True):
                answer = await connection.ask(request)
                _check(answer, stream)
                if number >= warm_up:
                    found.append(answer.first if stream else answer.whole)
    finally:
        for connection in connections:
            connection.close()
    return {"direct": median(times[0]), "through": median(times[1])}


def _chat(url: str, stream: bool) -> tuple[str, bytes]:
    """Return where to, and a chat request."""
    body: dict[str, object] = {"model": "simulated", "messages": [{"role": "user", "content": "Hello!"}]}
    address = f"{url}/chat/completions"
    content = json.dumps(body | {"stream": True} if stream else body).encode()
    return address, post(address, content, os.environ.get(KEY_VARIABLE, "none"))


def _check(answer: Answer, stream: bool) -> None:
    whole = answer.body.endswith(b"data: [DONE]\n\n") if stream else b'"choices"' in answer.body
    if answer.status != 200 or not whole:
        raise WrongAnswer(f"HTTP {answer.status}: {answer.body[:SHOWN].decode(errors='replace')!r}")


if __name__ == "__main__":
    sys.exit(main())
