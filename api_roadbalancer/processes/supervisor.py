"""Keeps child processes running: starts them, starts them again when they die, and stops them together."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

__all__ = ["Child", "ChildFailed", "Supervisor", "end_with_parent"]

STOP_SECONDS = 12.0
"""Seconds between SIGTERM and SIGKILL: a worker hands back within ten."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds before a child that keeps dying is started again."""
STEADY_AFTER = 60.0
"""Seconds after which a death is no longer counted with the one before."""

START_SECONDS = 20.0
"""Seconds of its first life in which a child that dies has not come up."""
DEATHS_AT_START = 3
"""Deaths without ever having come up after which a child is given up."""
SHOWN_LINES = 15
"""Last lines of its log that are shown then."""

SUPERVISED = "ROADBALANCER_SUPERVISED"
"""Set in the environment of supervised children."""

log = logging.getLogger(__name__)


def end_with_parent() -> None:
    """In a supervised child: stop (with SIGTERM, thus in order) when the supervisor is gone, even if it was killed."""
    if os.environ.pop(SUPERVISED, None) is None:
        return

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


class ChildFailed(OSError):
    """A child process never came up: `name` is which, `code` its exit code, `lines` the end of its log."""

    def __init__(self, name: str, code: int, lines: Sequence[str]) -> None:
        self.name, self.code, self.lines = name, code, tuple(lines)
        shown = "".join(f"\n  {line}" for line in lines)
        super().__init__(f"{name} does not start: it ended {DEATHS_AT_START} times with {_ending(code)}{shown}")


@dataclass(slots=True)
class Child:
    """One process that should run: the `roadbalancer` arguments, or a whole command. `log` is where its output goes."""

    name: str
    arguments: Sequence[str]
    log: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    stops_last: bool = False
    """The others need it while they stop."""
    takes_hangups: bool = False
    """It reads its settings again after SIGHUP."""
    process: "subprocess.Popen[bytes] | None" = None
    deaths: int = 0
    came_up: bool = False
    codes: list[int] = field(default_factory=list)
    """Exit codes before it ever came up."""
    started_at: float = 0.0
    start_again_at: float = 0.0


class Supervisor:
    """A context manager: leaving it stops the children."""

    def __init__(self) -> None:
        self.children: list[Child] = []
        self._stopping = threading.Event()
        self._is_killed = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self, child: Child) -> None:
        """Start a child and keep it running."""
        with self._lock:
            self._spawn(child)
            self.children.append(child)

    def check(self) -> None:
        """Raise ChildFailed if a child ends alike each time that it is started, and never came up."""
        with self._lock:
            for child in self.children:
                if len(child.codes) >= DEATHS_AT_START and len(set(child.codes[-DEATHS_AT_START:])) == 1:
                    raise ChildFailed(child.name, child.codes[-1], _last_lines(child.log))

    def hang_up(self) -> None:
        """Let the children read their settings again."""
        with self._lock:
            for child in self.children:
                if child.takes_hangups and child.process is not None and child.process.poll() is None:
                    child.process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """Stop all children with SIGTERM, and with SIGKILL those that do not end in time."""
        self._stopping.set()
        if self._thread:
            self._thread.join()
        try:
            with self._lock:
                for last in (False, True):
                    _stop_all([child for child in self.children if child.stops_last is last])
        except KeyboardInterrupt:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill all children at once, also while `stop` waits for them.

        Signal handlers may call it: it takes no lock, which the code that they interrupt might hold.
        """
        self._is_killed = True
        for child in list(self.children):
            if child.process:
                child.process.kill()

    def _spawn(self, child: Child) -> None:
        _close_pipe(child)
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(child.log.open("ab")) if child.log else None
            child.process = start_process(child.arguments, {**os.environ, **child.environment, SUPERVISED: "1"}, output)
        child.started_at = time.monotonic()
        child.start_again_at = 0.0

    def _watch(self) -> None:
        while not self._stopping.wait(0.2):
            with self._lock:
                for child in self.children:
                    self._look_after(child)

    def _look_after(self, child: Child) -> None:
        if child.process is None or self._is_killed:
            return
        now = time.monotonic()
        if (code := child.process.poll()) is None:
            child.came_up = child.came_up or now - child.started_at > START_SECONDS
            return
        if not child.start_again_at:
            if not child.came_up:
                child.codes.append(code)
            child.deaths = 1 if now - child.started_at > STEADY_AFTER else child.deaths + 1
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (child.deaths - 1))
            child.start_again_at = now + pause
            log.warning("%s ended (%s); it is started again in %.1f s", child.name, _ending(code), pause)
        elif now >= child.start_again_at:
            self._spawn(child)


def start_process(arguments: Sequence[str], environment: dict[str, str], output: BinaryIO | None) -> "subprocess.Popen[bytes]":
    """Start `roadbalancer ARGUMENTS` with this environment; it prints to `output`, or to where this process prints."""
    return subprocess.Popen(
        # -P: not from the current folder, where the user may have a `jobs.py` or `workers.py` of their own.
        [sys.executable, "-P", "-m", "api_roadbalancer", *arguments],
        # The other end of this pipe closes when this process ends, however it ends: see `end_with_parent`.
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        env=environment,
        # Ctrl-C at the terminal is for this process, which then stops the children in order.
        start_new_session=True,
    )


def _stop_all(children: Sequence[Child]) -> None:
    running = [child for child in children if child.process and child.process.poll() is None]
    deadline = time.monotonic() + STOP_SECONDS
    for child in running:
        assert child.process
        child.process.send_signal(signal.SIGTERM)
    for child in running:
        assert child.process
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("%s did not stop in time and is killed", child.name)
            child.process.kill()
            child.process.wait()
    for child in children:
        _close_pipe(child)


def _close_pipe(child: Child) -> None:
    """Close this end of the pipe of a child that has ended, if it was started."""
    if child.process and child.process.stdin:
        child.process.stdin.close()


def _last_lines(log: Path | None) -> list[str]:
    if log is None:
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16_384))
        return file.read().decode("utf-8", "replace").splitlines()[-SHOWN_LINES:]


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
