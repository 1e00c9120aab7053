"""Child processes that are watched while they run and ended by their ids."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.results import BenchmarkFailed

__all__ = ["Process", "child_environment", "cpu_seconds", "peak_memory", "start_process", "until"]

REPOSITORY = Path(__file__).resolve().parent.parent
LOOK_EVERY = 0.02
_OTHERS = re.compile(r"ROADBALANCER_.*|LLM_.*|OPENAI_.*|LITELLM_.*|DATABASE_URL|(.*_)?proxy", re.IGNORECASE)
"""Variables that would change what is measured."""


@dataclass(slots=True)
class Process:
    """A child process. `grace` is the seconds between SIGTERM and SIGKILL, for those that have children of their own."""

    name: str
    handle: "subprocess.Popen[bytes]"
    log: Path
    grace: float = 0.0

    @property
    def pid(self) -> int:
        return self.handle.pid

    @property
    def is_running(self) -> bool:
        return self.handle.poll() is None

    def log_text(self) -> str:
        """Return what it has written so far."""
        return self.log.read_text(errors="replace")

    def failure(self) -> BenchmarkFailed:
        """Return an error with the end of the log."""
        last = self.log_text().strip().splitlines()[-1:] or ["it wrote nothing"]
        return BenchmarkFailed(f"{self.name} ended with exit code {self.handle.poll()}: {last[0]}")

    async def finished(self, seconds: float) -> None:
        """Wait until it has ended well. Raises BenchmarkFailed."""
        await until(lambda: not self.is_running, seconds, f"the end of {self.name}")
        if self.handle.returncode != 0:
            raise self.failure()

    def kill(self) -> None:
        """End it with SIGKILL, at once."""
        self.handle.kill()
        self.handle.wait()

    def end(self) -> None:
        """End it and what it has started."""
        descendants = _descendants(self.pid) if self.is_running else []
        if self.grace and self.is_running:
            self.handle.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.handle.wait(self.grace)
        if self.is_running:
            self.handle.kill()
        self.handle.wait()
        for process in descendants:
            with contextlib.suppress(psutil.NoSuchProcess):  # psutil tells a new process with an old id apart
                process.kill()


def start_process(name: str, command: Sequence[str], folder: Path, grace: float, variables: Mapping[str, str]) -> Process:
    """Start a process that works in `folder` and writes its log there.

    It has a session of its own, so that Ctrl-C at the terminal is for the benchmark, which then ends it.
    """
    log = folder / f"{name.replace(' ', '-')}.log"
    environment = child_environment() | dict(variables)
    with log.open("wb") as output:
        handle = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    return Process(name, handle, log, grace)


def child_environment() -> dict[str, str]:
    """Return this process's environment without the user's own settings, and with this repository to import from."""
    kept = {name: value for name, value in os.environ.items() if not _OTHERS.fullmatch(name)}
    return kept | {"PYTHONPATH": str(REPOSITORY)}


def cpu_seconds(pid: int) -> float:
    """Return the processor seconds (user and system) that a process has used so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def peak_memory(pid: int) -> int:
    """Return the most bytes that a process has had resident so far, 0 if it has ended; without /proc, those of now."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        with contextlib.suppress(psutil.Error):
            return int(psutil.Process(pid).memory_info().rss)
        return 0
    peak = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(peak[1]) * 1024 if peak else 0


async def until(condition: Callable[[], Awaitable[object] | object], seconds: float, what: str) -> None:
    """Wait until a condition holds. Raises BenchmarkFailed when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return
        if time.monotonic() > deadline:
            raise BenchmarkFailed(f"waited {seconds:g} s in vain for {what}")
        await asyncio.sleep(LOOK_EVERY)


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
