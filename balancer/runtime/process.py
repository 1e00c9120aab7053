"""This process among others: its name, and how many files it may open."""

import os
import secrets
import socket
import sys
from contextlib import suppress

__all__ = ["process_name", "raise_descriptor_limit"]


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
