"""Hands a configuration that is read again on to child processes."""

import logging

from api_roadbalancer.session import Session
from api_roadbalancer.supervisor import Supervisor
from balancer.configuration import load_configuration
from balancer.errors import ConfigurationError
from balancer.runtime.rereading import Rereading

__all__ = ["ChildrenSettings"]

log = logging.getLogger(__name__)


class ChildrenSettings:
    """The children's settings, which are a file of their own. They come from `source`, which is read again ("": from no file)."""

    def __init__(self, session: Session, supervisor: Supervisor, source: str, watch: bool) -> None:
        self._session = session
        self._supervisor = supervisor
        self._rereading = Rereading(source, watch)

    def look(self) -> None:
        """If the configuration is to be read again, write the children's settings, and let them read these again."""
        if self._rereading.is_due():
            try:
                self._session.configuration = load_configuration(self._session.configuration.source)
            except ConfigurationError as exc:
                log.error("the configuration can't be used, and changes nothing: %s", exc)
                return
            self._session.settings_file()
            self._supervisor.hang_up()
