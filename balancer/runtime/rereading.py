"""When a file is to be read again: after SIGHUP, and, if it is watched, when it has changed."""

import os
import signal

__all__ = ["Rereading", "note_hangups"]

_hangups = 0


def note_hangups() -> None:
    """Count SIGHUPs from now on, instead of ending at one. For the main thread; does nothing where there is no SIGHUP."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, _note)


def _note(*_: object) -> None:
    global _hangups
    _hangups += 1


class Rereading:
    """Looks after one file, "" for none. With `watch`, a change of it counts."""

    def __init__(self, path: str, watch: bool) -> None:
        self._path = path
        self._watch = watch
        self._hangups = _hangups
        self._stamp = _stamp_of(path)

    def is_due(self) -> bool:
        """Whether the file is to be read again: each reason counts once."""
        if not self._path:
            return False
        hung_up, self._hangups = _hangups != self._hangups, _hangups
        stamp = _stamp_of(self._path) if self._watch else self._stamp
        changed, self._stamp = stamp != self._stamp, stamp
        return hung_up or changed


def _stamp_of(path: str) -> tuple[int, int]:
    """Return what changes when a file does."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
