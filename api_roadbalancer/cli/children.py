"""Signals and settings of the child processes of `up` and `api`."""

import logging
import signal
from contextlib import suppress
from queue import Empty, SimpleQueue

from api_roadbalancer.processes.session import Session
from api_roadbalancer.processes.supervisor import Supervisor
from balancer.configuration import load_configuration
from balancer.errors import ConfigurationError
from balancer.runtime.rereading import Rereading, note_hangups

__all__ = ["Children"]

LOOK_EVERY = 0.5
"""Seconds between looks at whether a child fails to come up."""

log = logging.getLogger(__name__)


class Children(Supervisor):
    """A context manager, as its base is. SIGTERM and SIGINT end `wait`, a second one kills all children at once."""

    def __init__(self) -> None:
        super().__init__()
        self._is_ending = False
        # A handler must not wait for a lock, which the code that it interrupts might hold: of the standard library's queues and
        # events, only this one is made for that.
        self._signals: SimpleQueue[None] = SimpleQueue()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        if self._is_ending:
            self.kill()
        self._is_ending = True
        self._signals.put(None)

    def wait(self, session: Session, source: str, watch: bool) -> None:
        """Wait for the end, and let the children read their settings again after SIGHUP, or with `watch` when `source` changes
        ("": they come from no file). Raises ChildFailed if one does not come up."""
        note_hangups()
        rereading = Rereading(source, watch)
        while not self._is_ending:
            with suppress(Empty):
                self._signals.get(timeout=LOOK_EVERY)
                return
            self.check()
            if rereading.is_due():
                self._reread(session)

    def _reread(self, session: Session) -> None:
        try:
            session.configuration = load_configuration(session.configuration.source)
        except ConfigurationError as exc:
            log.error("the configuration can't be used, and changes nothing: %s", exc)
            return
        session.settings_file()  # which the children read
        self.hang_up()
