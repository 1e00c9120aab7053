"""The name of this process, unique among those that share a Redis."""

import os
import secrets
import socket

__all__ = ["process_name"]


def process_name() -> str:
    """Return a name that no other process has, this one's next life included."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
