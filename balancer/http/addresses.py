"""Finds the addresses of hosts: once for all connections that are opened within some seconds."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

__all__ = ["Addresses"]

KEPT = 5.0
"""Seconds for which what was found is used. A job's first seconds open hundreds of connections, and names are looked up on a few
threads only."""


class Addresses:
    """Use on one event loop at a time. Raises OSError for names that can't be found, which are looked up again the next time."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[float, asyncio.Task[list[str]]]] = {}
        self._turn = 0

    async def of(self, host: str) -> Sequence[str]:
        """Return a host's addresses in the order in which to try them. Those of the preferred kind take turns in being first."""
        if _is_address(host):
            return (host,)
        loop = asyncio.get_running_loop()
        until, looking_up = self._found.get(host, (0.0, None))
        if looking_up is None or until < loop.time() or looking_up.get_loop() is not loop:
            looking_up = loop.create_task(_look_up(host), name=f"look up {host}")
            looking_up.add_done_callback(lambda task: self._forget_failed(host, task))
            self._found[host] = (loop.time() + KEPT, looking_up)
        found = await asyncio.shield(looking_up)
        self._turn += 1
        preferred = [address for address in found if (":" in address) == (":" in found[0])]
        start = self._turn % len(preferred)
        return [*preferred[start:], *preferred[:start], *(address for address in found if address not in preferred)]

    def _forget_failed(self, host: str, task: "asyncio.Task[list[str]]") -> None:
        if (task.cancelled() or task.exception() is not None) and self._found.get(host, (0.0, None))[1] is task:
            del self._found[host]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


async def _look_up(host: str) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses:
        raise OSError(f"no address for {host!r}")
    return list(dict.fromkeys(addresses))
