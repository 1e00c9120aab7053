"""Calls that run a job to its end, with Redis and workers of their own, on a thread of their own."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from api_roadbalancer.bulk.display import NoDisplay, TerminalDisplay
from api_roadbalancer.bulk.run import BulkRequest, BulkRun
from api_roadbalancer.processes.named_endpoints import NamedEndpoints
from api_roadbalancer.processes.session import Session, open_session
from api_roadbalancer.processes.supervisor import Supervisor
from balancer.usage.pricing import has_no_price
from jobs.cost.projection import sufficient_cap
from jobs.errors import CapReached, InvalidRequest
from jobs.node import open_node
from jobs.records import Job
from jobs.records.states import JobStatus
from workers.messages import celery_wake

__all__ = ["Calls"]

_ONE_AT_A_TIME = threading.Lock()
"""Runs of one process follow each other: they share the store's server, and its workers know one configuration."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Where calls go: to `endpoints`, else to those of the configuration file `config`. With `progress` it is shown."""

    config: Path | None = None
    endpoints: NamedEndpoints | None = None
    progress: bool = True

    @classmethod
    def of(
        cls,
        endpoints: Sequence[str] = (),
        model: str | None = None,
        api_key_env: str | None = None,
        config: str | Path | None = None,
        progress: bool = True,
    ) -> "Calls":
        """Make them of what a program says. Raises ConfigurationError."""
        named = NamedEndpoints.of(endpoints, model if endpoints else None, api_key_env)
        return cls(Path(config) if config is not None else None, named, progress)

    def ended(self, request: BulkRequest) -> tuple[Job, str]:
        """Run a request to its end, and return its job and the store that has the job's files. Call it from any thread.

        Raises InvalidRequest for what can't be used, CapReached, and KeyboardInterrupt when it is interrupted.
        """
        console = Console(stderr=True)
        is_live = console.is_terminal or console.is_jupyter
        job, store = _on_own_loop(_Call(request, self, TerminalDisplay(console, is_live) if self.progress else NoDisplay()))
        if job is None:
            raise KeyboardInterrupt("stopped; what is finished is kept, and the same call goes on from here")
        if job.paused:
            raise CapReached(f"{job.id} is paused at its cap; the same call with max_cost={sufficient_cap(job):.12g} goes on")
        if job.status is JobStatus.FAILED:
            raise InvalidRequest("; ".join(bad.message for bad in job.errors))
        return job, store


@dataclass(slots=True)
class _Call:
    """One of them."""

    request: BulkRequest
    calls: Calls
    display: TerminalDisplay | NoDisplay
    stop: Callable[[], object] = lambda: None
    """Call it from any thread."""

    def go(self) -> tuple[Job | None, str]:
        """Return the job, None if it was stopped, and the store that has its files."""
        with ExitStack() as stack:
            stack.enter_context(_ONE_AT_A_TIME)
            session = stack.enter_context(open_session(self.calls.config, self.calls.endpoints))
            supervisor = stack.enter_context(Supervisor())
            if session.configuration.is_simulated:
                self.display.say("No endpoint is configured: a SIMULATED one answers, with invented text.")
            if self.calls.endpoints is not None and self.request.max_cost is not None:
                self._lift_a_cap_without_prices(session)
            session.start_simulations(supervisor)
            return asyncio.run(self._watched(session, supervisor)), session.configuration.store

    def _lift_a_cap_without_prices(self, session: Session) -> None:
        """Drop the cap where nothing can count against it: at servers of one's own that are named by their addresses alone."""
        if all(has_no_price(endpoint) for endpoint in session.configuration.endpoints):
            names = ", ".join(endpoint.name for endpoint in session.configuration.endpoints)
            self.display.say(f"max_cost has no effect: {names} has no price; a configuration file can give it one")
            self.request = replace(self.request, max_cost=None)

    async def _watched(self, session: Session, supervisor: Supervisor) -> Job | None:
        loop = asyncio.get_running_loop()
        bulk = BulkRun(self.request, session, supervisor, self.display)
        self.stop = lambda: loop.call_soon_threadsafe(bulk.interrupted.set)
        configuration, redis_url = session.configuration, session.redis_url
        async with open_node(configuration, redis_url, celery_wake(configuration, redis_url)) as node:
            with self.display.opened():
                return await bulk.go(node)


def _on_own_loop(call: _Call) -> tuple[Job | None, str]:
    """Run a call on a thread of its own: the caller's may have a loop that runs, as in a notebook."""
    with ThreadPoolExecutor(1, thread_name_prefix="roadbalancer") as pool:
        future = pool.submit(call.go)
        try:
            return future.result()
        except KeyboardInterrupt:
            call.stop()
            future.result()
            raise
