"""Settings of a whole process: its name, how many files it may open, when garbage is collected."""

import gc
import os
import secrets
import socket
import sys
from contextlib import suppress

__all__ = ["collect_garbage_less_often", "process_name", "raise_descriptor_limit"]

YOUNG_OBJECTS = 20_000
"""Allocations minus deallocations of container objects that start a collection (`gc.set_threshold`; 700 by default)."""


def process_name() -> str:
    """Return a name that no other process has, this one's next life included."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def raise_descriptor_limit() -> None:
    """Let this process have as many open files as the system's hard limit allows; the usual soft limit (1024) is a few hundred
    streams, since every connection is one. Does nothing on Windows, which has no such limit."""
    if sys.platform == "win32":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems call unlimited what they don't allow
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def collect_garbage_less_often() -> None:
    """Freeze all existing objects (`gc.freeze`), and raise the threshold of the youngest generation.

    Call it once modules and long-lived objects have been created. With hundreds of requests in flight, collections at Python's
    default threshold take 7 % of a worker's CPU time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
