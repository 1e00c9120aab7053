"""Signals that come while a supervisor waits or stops: a handler may run between any two lines, and must not wait for a lock."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import pytest

from api_roadbalancer.cli import children
from api_roadbalancer.cli.children import Children
from api_roadbalancer.processes.supervisor import Supervisor

MOST_LINES = 500


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def interrupted_at(line: int, work: Callable[[], object], handler: Callable[[], object]) -> bool:
    """Do some work on a thread, with the handler called before line number `line` of it. Whether it has so many."""
    seen = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal seen
        if event == "line":
            seen += 1
            if seen == line:
                handler()
        return trace

    def traced() -> None:
        sys.settrace(trace)
        work()

    thread = threading.Thread(target=traced, daemon=True)
    thread.start()
    thread.join(10.0)
    assert not thread.is_alive(), f"a signal before line {line} of the work stops it for ever"
    return seen >= line


def test_a_second_signal_may_come_anywhere_while_children_are_stopped() -> None:
    for line in range(1, MOST_LINES):
        supervisor = Supervisor()
        supervisor.__enter__()
        if not interrupted_at(line, supervisor.stop, supervisor.kill):
            return
    pytest.fail("the work has more lines than are tried")


def test_the_first_signal_may_come_anywhere_while_children_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "LOOK_EVERY", 0.001)
    monkeypatch.setattr(children, "note_hangups", lambda: None)  # for the main thread alone
    for line in range(1, 60):  # which is more than once around
        running = Children()
        handler = signal.getsignal(signal.SIGINT)
        assert callable(handler)
        assert interrupted_at(line, partial(running.wait, None, "", False), partial(handler, signal.SIGINT, None))
