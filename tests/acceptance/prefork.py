"""Starts the project's processes from one that has imported everything already: each saves a second of CPU.

What is started is a process of its own that runs the very entry point of the command, and can be killed, stopped and waited
for; so are the children that it starts. One starter serves a whole test session. Tests of how the command itself starts do it as
users do (see test_wheel).

The starter reads one JSON object per connection: `module`, `arguments`, `environment`, `folder` (to run in), `session` (whether
it is to have one of its own), `descriptors` (the soft and the hard limit of open ones); with it come the descriptors of standard
input, standard output and standard error. It answers with the process id, and when the process has ended with its exit code,
each on a line.
"""

import gc
import os
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from api_roadbalancer.processes import embedded, supervisor

__all__ = ["PREFORKED", "Prefork", "PreforkedProcess"]

PREFORKED = ("api_roadbalancer", "api_roadbalancer.mock")
"""Packages that are run with `python -m`."""
IMPORTED = (
    "workers.main",
    "celery.worker.components",
    "celery.apps.worker",
    *(
        f"api_roadbalancer.cli.{module}"
        for module in ("main", "configuration", "estimate", "jobs", "keys", "results", "run", "up", "usage")
    ),
    "api_roadbalancer.mock.__main__",
    "balancer.usage.price_library",
    "producer_api",
    "flower.command",
)
ALWAYS = "always"
"""When the embedded Redis of tests syncs its file: waiting for the next second, twice for each job, was half of the time."""
as_users_do = supervisor.start_process
ENDED = 20.0
"""Seconds that the end of a killed process is waited for."""


class PreforkedProcess:
    """The part of `subprocess.Popen` that tests use, for a process that the starter has forked."""

    def __init__(self, connection: socket.socket, stdin: BinaryIO | None = None) -> None:
        self.stdin = stdin
        self._connection = connection
        self._said = connection.makefile("r")
        self.pid = int(self._said.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, None while it runs; a signal that ended it counts negative."""
        if self.returncode is None and self._has_ended(0):
            self.returncode = int(self._said.readline() or ENDED_UNSEEN)
            self._said.close()
            self._connection.close()
        return self.returncode

    def wait(self, timeout: float = ENDED) -> int:
        """Wait for the end. Raises subprocess.TimeoutExpired."""
        if self.returncode is None and not self._has_ended(timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _has_ended(self, timeout: float) -> bool:
        """Wait for the exit code to be readable. `poll` takes descriptors above 1,023; `select` does not."""
        waiting = select.poll()
        waiting.register(self._connection, select.POLLIN)
        return bool(waiting.poll(timeout * 1000))


ENDED_UNSEEN = -signal.SIGKILL
"""What is taken for the exit code when the starter has ended first."""


class Prefork:
    """The starter, as tests see it. `close` ends it."""

    def __init__(self, folder: Path) -> None:
        self.starting = Starting(str(folder / "prefork.sock"))
        self._process = subprocess.Popen([sys.executable, "-m", __name__, self.starting.path], stdin=subprocess.PIPE)

    def start(
        self, command: list[str], environment: dict[str, str], log: Path, errors: Path | None = None, folder: Path | None = None
    ) -> PreforkedProcess:
        """Run `python -m MODULE ARGUMENTS` with exactly this environment; what it prints is added to the log, and what goes to
        standard error to `errors` if that is given."""
        _, _, module, *arguments = command
        with open(os.devnull, "rb") as nothing, log.open("ab") as output, (errors or log).open("ab") as error_log:
            return self.starting.start(module, arguments, environment, (nothing, output, error_log), folder)

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(ENDED)


class Starting:
    """Asks the starter that listens at `path` for processes."""

    def __init__(self, path: str) -> None:
        self.path = path

    def start(
        self,
        module: str,
        arguments: Sequence[str],
        environment: dict[str, str],
        streams: tuple[Any, Any, Any],
        folder: Path | None = None,
        session: bool = False,
        stdin: BinaryIO | None = None,
    ) -> PreforkedProcess:
        """Run a module, whose standard streams these files (or descriptors) are."""
        connection = socket.socket(socket.AF_UNIX)
        self._connect(connection)
        request = {
            "module": module,
            "arguments": arguments,
            "environment": environment,
            "folder": str(folder or Path.cwd()),
            "session": session,
            "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE),
        }
        numbers = [each if isinstance(each, int) else each.fileno() for each in streams]
        socket.send_fds(connection, [b"\n"], numbers)
        connection.sendall(orjson.dumps(request) + b"\n")
        return PreforkedProcess(connection, stdin)

    def start_child(
        self, arguments: Sequence[str], environment: dict[str, str], output: BinaryIO | None
    ) -> "PreforkedProcess | subprocess.Popen[bytes]":
        """Stand in for `api_roadbalancer.processes.supervisor.start_process`, but for children that are to find other modules."""
        if "PYTHONPATH" in environment:
            return as_users_do(arguments, environment, output)
        reading, writing = os.pipe()
        try:
            streams = (reading, output or 1, output or 2)
            pipe = os.fdopen(writing, "wb")
            return self.start("api_roadbalancer", list(arguments), environment, streams, session=True, stdin=pipe)
        finally:
            os.close(reading)

    def _connect(self, connection: socket.socket) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                connection.connect(self.path)
                return
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > deadline:
                    raise
                select.poll().poll(20)


def serve(path: str) -> None:
    """Start processes until the standard input closes. One thread: a fork copies no other."""
    inherited = set(os.environ)
    for module in IMPORTED:
        import_module(module)
    # What is here for good stays in memory that the children share: their garbage collectors don't touch it.
    gc.collect()
    gc.freeze()
    set_by_imports = {name: value for name, value in os.environ.items() if name not in inherited}
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, socket.socket] = {}
    while True:
        readable, _, _ = select.select([sys.stdin, listener, wake], [], [])
        if wake in readable:
            os.read(wake, 4096)
        _report_ended(running)
        if listener in readable:
            connection, _ = listener.accept()
            pid = _fork(connection, set_by_imports, path)
            running[pid] = connection
            connection.sendall(b"%d\n" % pid)
        if sys.stdin in readable:
            return


def _report_ended(running: dict[int, socket.socket]) -> None:
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with running.pop(pid) as connection, suppress(BrokenPipeError):  # the test has ended first
                connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _fork(connection: socket.socket, set_by_imports: dict[str, str], path: str) -> int:
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    request = orjson.loads(connection.makefile("rb").readline())
    pid = os.fork()
    if pid:
        for number in streams:
            os.close(number)
        return pid
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if request["session"]:
        os.setsid()
    for target, number in enumerate(streams):
        os.dup2(number, target)
    supervisor.start_process = Starting(path).start_child  # type: ignore[assignment]
    embedded.FSYNC = ALWAYS
    os.chdir(request["folder"])
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    resource.setrlimit(resource.RLIMIT_NOFILE, request["descriptors"])
    os.environ.clear()
    os.environ.update(set_by_imports | request["environment"])
    sys.argv = [request["module"], *request["arguments"]]
    try:
        runpy.run_module(f"{request['module']}.__main__", run_name="__main__", alter_sys=True)
    except SystemExit as exc:
        os._exit(exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
