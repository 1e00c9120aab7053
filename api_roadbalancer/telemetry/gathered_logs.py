"""Log handlers that write the lines of one turn of the event loop together."""

import asyncio
import logging
from logging.handlers import WatchedFileHandler
from typing import Any

__all__ = ["GatheringFileHandler", "GatheringHandler"]


class GatheringHandler(logging.StreamHandler[Any]):
    """Writes to standard error at the end of a turn what was logged within it, in one call of the system.

    Warnings, and what is logged where no event loop runs, are written at once, behind what came before them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        """The one that writes what is held."""

    def emit(self, record: logging.LogRecord) -> None:
        """Format a record now, and write it soon."""
        try:
            self._held.append(self.format(record))
            if record.levelno >= logging.WARNING or (loop := asyncio._get_running_loop()) is None:
                self.flush()
            elif len(self._held) == 1 or loop is not self._loop:
                self._loop = loop
                loop.call_soon(self._end_turn, record)
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Write what is held."""
        self.acquire()
        try:
            if self._held and self.stream:
                lines = "".join([line + self.terminator for line in self._held])
                self._held.clear()
                self.stream.write(lines)
            super().flush()
        finally:
            self.release()

    def _end_turn(self, record: logging.LogRecord) -> None:
        try:
            self.flush()
        except Exception:
            self.handleError(record)


class GatheringFileHandler(GatheringHandler, WatchedFileHandler):
    """The same for a file, which is opened again when it has been moved, as logrotate does."""

    def flush(self) -> None:
        """Write what is held, to the file that has the name now."""
        if self._held:
            self.reopenIfNeeded()
        super().flush()
