"""Which addresses belong to private networks, so that no caller has workers or endpoints reach into them."""

import asyncio
import ipaddress
import socket

__all__ = ["PrivateAddress", "is_encodable", "is_private", "public_address"]

_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))
"""IPv6 addresses that stand for IPv4 ones (NAT64, 6to4, Teredo), among them private ones."""


class PrivateAddress(OSError):
    """A name stands for an address in a private network."""


def is_private(host: str) -> bool:
    """Whether a host is written as an address that is not one of the public internet; a name is not."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_private(str(address.ipv4_mapped))
        if any(address in network for network in _TRANSLATED):
            return True
    return not address.is_global or address.is_multicast


def is_encodable(host: str) -> bool:
    """Whether a host's name can be asked for: labels of 1 to 63 characters, or what IDNA makes them of (RFC 3490)."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


async def public_address(host: str, port: int) -> str:
    """Look a name up, and return the first of its addresses, to connect to that and no other one.

    Raises PrivateAddress if one of them is private, and OSError if there is none.
    """
    if not is_encodable(host):
        raise OSError(f"{host} can't be the name of a host")
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if is_private(address):
            raise PrivateAddress(f"{host} is {address}, a private address")
    return addresses[0]
