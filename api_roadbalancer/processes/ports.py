"""Which ports are free, and ports that processes share. A module of its own, since each command with a port imports it."""

import secrets
import socket

from balancer.errors import ConfigurationError

__all__ = ["free_port", "is_free", "shared_port"]

LOWEST_PORT, PORTS = 10_240, 22_000
"""Below the ephemeral ports of Linux (32768), the BSDs and Windows (49152)."""


def is_free(host: str, port: int) -> bool:
    """Whether a port can be listened on now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def shared_port(host: str, port: int) -> socket.socket:
    """Return a socket on a port that other processes can have one on as well: connections are shared out among those that listen.

    Raises ConfigurationError where a system can't do that, and OSError if the port is in use.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigurationError("--processes", "", "needs a system on which processes can share a port, such as Linux or macOS")
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        found.bind((host, port))
    except OSError:
        found.close()
        raise
    return found


def free_port() -> int:
    """Return a port that is free now, outside of the range of outgoing connections: one of those could take it before its server
    listens."""
    while not is_free("127.0.0.1", port := LOWEST_PORT + secrets.randbelow(PORTS)):
        pass
    return port
