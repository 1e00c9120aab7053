"""The display of a run in a terminal or a notebook: a live picture, or lines of text where there is none."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from api_roadbalancer.progress import job_line, job_view, waiting_because, what_is_down
from jobs.monitoring.overview import EndpointState
from jobs.records import Job

__all__ = ["NoDisplay", "TerminalDisplay"]

PRINT_EVERY = 5.0
"""Seconds between two lines where no picture is shown."""


class TerminalDisplay:
    """Writes to a console; `live` says whether it can show pictures."""

    def __init__(self, console: Console, live: bool) -> None:
        self._console = console
        self._is_live = live
        self._live: Live | None = None
        self._printed_at = 0.0

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Show pictures, if it can, while this is open."""
        if not self._is_live:
            yield
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Show no picture while this is open."""
        if self._live is None:
            yield
            return
        self._live.stop()
        yield
        self._live.start()

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, job: Job, rate: float, endpoints: Sequence[EndpointState]) -> None:
        """Show the progress."""
        if self._live is not None:
            self._live.update(job_view(job, rate, endpoints, self._console.width), refresh=True)
        elif time.monotonic() - self._printed_at >= PRINT_EVERY:
            self._printed_at = time.monotonic()
            self.say(f"{job.ledger.done:,}/{job.ledger.total:,} · {job_line(job, rate)}")
            if trouble := waiting_because(job) or what_is_down(endpoints):
                self.say(f"  {trouble}")


class NoDisplay:
    """Shows nothing."""

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Do nothing."""
        yield

    def say(self, text: str) -> None:
        """Print nothing."""

    def show(self, job: Job, rate: float, endpoints: Sequence[EndpointState]) -> None:
        """Show nothing."""
