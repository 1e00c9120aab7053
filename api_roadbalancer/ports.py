"""Which ports are free. A module of its own, since each command with a port imports it."""

import secrets
import socket

__all__ = ["free_port", "is_free"]

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


def free_port() -> int:
    """Return a port that is free now, outside of the range of outgoing connections: one of those could take it before its server
    listens."""
    while not is_free("127.0.0.1", port := LOWEST_PORT + secrets.randbelow(PORTS)):
        pass
    return port
