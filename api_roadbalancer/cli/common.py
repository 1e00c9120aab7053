"""Shared by the commands about jobs: a node to work with, the job id argument, a console."""

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from api_roadbalancer.local_jobs import JobAccess, LocalJobs
from api_roadbalancer.processes.session import open_session
from api_roadbalancer.remote import TeamServer, chosen_server
from api_roadbalancer.remote.jobs import RemoteJobs
from balancer.runtime.events import log_context
from jobs.errors import InvalidRequest
from jobs.intake.requests import Canary
from jobs.node import Node, open_node
from workers.messages import celery_wake

__all__ = [
    "Cache",
    "CanaryLines",
    "CanaryRandom",
    "Dedupe",
    "JobId",
    "MaxCost",
    "PriceClassOption",
    "canary_from_options",
    "wide_console",
    "with_jobs",
    "with_node",
    "with_server",
]

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id, such as batch_….")]
MaxCost = Annotated[float | None, typer.Option("--max-cost", metavar="USD", help="When so much is spent, the job pauses.")]
Dedupe = Annotated[
    bool | None,
    typer.Option(
        "--dedupe/--no-dedupe",
        help="Send the same request once. Left out: only where the answers would be the same (temperature 0 or a seed).",
        show_default=False,
    ),
]
Cache = Annotated[
    str, typer.Option(metavar="AGE", help="Use answers of other jobs that are not older: 30d, 12h. Never, if left out.")
]
PriceClassOption = Annotated[
    str,
    typer.Option(
        "--price-class",
        metavar="CLASS",
        help="standard; at half the price and slower, where an endpoint has it: flex, batch (the provider's batches), "
        "or cheapest (batches while there is time).",
    ),
]
CanaryLines = Annotated[
    int | None, typer.Option("--canary", metavar="N", min=1, help="Pause after the first N lines, to look at their answers.")
]
CanaryRandom = Annotated[bool, typer.Option("--canary-random", help="N lines drawn at random instead of the first ones.")]
WIDE = 250
"""Columns where no terminal sets a width, so that nothing is cut off."""
T = TypeVar("T")


def with_node(config: Path | None, work: Callable[[Node], Awaitable[T]], creates: bool = False) -> T:
    """Run `work` on a node of the configuration, with Redis found or started for it. Raises NoStore if there is none yet, unless
    it `creates` one."""

    async def go(redis_url: str) -> T:
        async with open_node(session.configuration, redis_url, celery_wake(session.configuration, redis_url)) as node:
            with log_context(by=f"user:{getpass.getuser()}"):
                return await work(node)

    with open_session(config, creates=creates) as session:
        return asyncio.run(go(session.redis_url))


def with_jobs(config: Path | None, work: Callable[[JobAccess], Awaitable[T]], creates: bool = False) -> T:
    """Run `work` on the jobs of the server that was chosen (`--server`), else on those of the configuration (see `with_node`)."""
    if chosen_server():
        return with_server(lambda server: work(RemoteJobs(server)))
    return with_node(config, lambda node: work(LocalJobs(node)), creates)


def with_server(work: Callable[[TeamServer], Awaitable[T]]) -> T:
    """Run `work` with the server that was chosen."""
    address = chosen_server()
    assert address is not None

    async def go() -> T:
        async with TeamServer(address) as server:
            return await work(server)

    return asyncio.run(go())


def canary_from_options(lines: int | None, is_random: bool) -> Canary | None:
    """Return the canary of `--canary N` and `--canary-random`. Raises InvalidRequest."""
    if lines is None and is_random:
        raise InvalidRequest("--canary-random goes with --canary N")
    return Canary(lines, is_random) if lines is not None else None


def wide_console() -> Console:
    """Return a console that cuts nothing off where no terminal sets a width."""
    return Console() if sys.stdout.isatty() else Console(width=WIDE)
