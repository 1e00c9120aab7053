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

__all__ = ["Child", "Supervisor", "end_with_parent"]

STOP_SECONDS = 12.0
"""Seconds between SIGTERM and SIGKILL: a worker hands back within ten."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds before a child that keeps dying is started again."""
STEADY_AFTER = 60.0
"""Seconds after which a death is no longer counted with the one before."""

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


@dataclass(slots=True)
class Child:
    """One process that should run: the `roadbalancer` arguments, or a whole command. `log` is where its output goes."""

    name: str
    arguments: Sequence[str]
    log: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    stops_last: bool = False
    """The others need it while they stop."""
    process: "subprocess.Popen[bytes] | None" = None
    deaths: int = 0
    started_at: float = 0.0
    start_again_at: float = 0.0


class Supervisor:
    """A context manager: leaving it stops the children."""

    def __init__(self) -> None:
        self.children: list[Child] = []
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Supervisor":
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

    def stop(self) -> None:
        """Stop all children with SIGTERM, and with SIGKILL those that do not end in time."""
        self._stopping.set()
        if self._thread:
            self._thread.join()
        with self._lock:
            for last in (False, True):
                _stop_all([child for child in self.children if child.stops_last is last])

    def _spawn(self, child: Child) -> None:
        command = [sys.executable, "-m", "api_roadbalancer", *child.arguments]
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(child.log.open("ab")) if child.log else None
            # Ctrl-C at the terminal is for this process, which then stops the children in order.
            child.process = subprocess.Popen(
                command,
                # The other end of this pipe closes when this process ends, however it ends: see `end_with_parent`.
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                env={**os.environ, **child.environment, SUPERVISED: "1"},
                start_new_session=True,
            )
        child.started_at = time.monotonic()
        child.start_again_at = 0.0

    def _watch(self) -> None:
        while not self._stopping.wait(0.2):
            with self._lock:
                for child in self.children:
                    self._look_after(child)

    def _look_after(self, child: Child) -> None:
        if child.process is None or (code := child.process.poll()) is None:
            return
        now = time.monotonic()
        if not child.start_again_at:
            child.deaths = 1 if now - child.started_at > STEADY_AFTER else child.deaths + 1
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (child.deaths - 1))
            child.start_again_at = now + pause
            log.warning("%s ended (%s); it is started again in %.1f s", child.name, _ending(code), pause)
        elif now >= child.start_again_at:
            self._spawn(child)


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


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
