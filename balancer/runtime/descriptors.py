"""Raises the limit of open file descriptors; every connection needs one."""

import sys
from contextlib import suppress

__all__ = ["raise_descriptor_limit"]


def raise_descriptor_limit() -> None:
    """Let this process have as many open files as the system's hard limit allows; the usual soft limit (1024) is a few hundred
    streams. Does nothing on Windows, which has no such limit."""
    if sys.platform == "win32":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems call unlimited what they don't allow
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
