"""Counts the open connections of each address, so that none has more than its share."""

import ipaddress
from collections import Counter

__all__ = ["Peers"]

V6_PREFIX = 64
"""Bits of an IPv6 address that stand for one network, which a single machine usually has for itself."""


class Peers:
    """The addresses that have connections; `limit` is how many one may have, None for any number."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._open: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Count a connection, and say whether it may stay; `leave` follows only then."""
        if self.limit is None:
            return True
        peer = _peer(address)
        if self._open[peer] >= self.limit:
            return False
        self._open[peer] += 1
        return True

    def leave(self, address: str) -> None:
        """Count a connection no more."""
        if self.limit is None:
            return
        peer = _peer(address)
        self._open[peer] -= 1
        if not self._open[peer]:
            del self._open[peer]


def _peer(address: str) -> str:
    """Return what stands for an address: an IPv4 address itself, also one that is mapped into IPv6, and the network of IPv6."""
    if ":" not in address:
        return address
    found = ipaddress.IPv6Address(address.partition("%")[0])
    return str(found.ipv4_mapped or ipaddress.ip_network((found, V6_PREFIX), strict=False))
