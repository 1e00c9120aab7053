"""Opens connections: TCP with keep-alive probes, TLS, and tunnels through proxies."""

import asyncio
import functools
import os
import socket
import ssl

import certifi

from balancer.http.addresses import Addresses
from balancer.http.client import Origin
from balancer.http.connection import Connection
from balancer.http.errors import ConnectFailed, ConnectTimeout
from balancer.http.proxies import Proxy

__all__ = ["open_connection"]

PROBE_AFTER = 5
"""Seconds of silence after which the kernel asks a host whether it is still there."""
PROBE_EVERY = 2
"""Seconds between two such probes."""
GONE_AFTER = 10
"""Seconds without any sign of a host after which its connections end (RFC 5482, and RFC 9293, 3.8.4)."""
MAX_TUNNEL_ANSWER = 16 * 1024
"""Bytes of a proxy's answer."""


async def open_connection(origin: Origin, proxy: Proxy | None, addresses: Addresses, timeout: float) -> Connection:
    """Connect to a server, or to the proxy before it, within `timeout` seconds. Raises ConnectFailed and ConnectTimeout."""
    try:
        async with asyncio.timeout(timeout):
            return await _open(origin, proxy, addresses)
    except TimeoutError:
        raise ConnectTimeout from None
    except OSError as exc:  # TLS errors are OSErrors too
        raise ConnectFailed(_reason(exc)) from exc


async def _open(origin: Origin, proxy: Proxy | None, addresses: Addresses) -> Connection:
    host, port = (proxy.host, proxy.port) if proxy is not None else (origin.host, origin.port)
    problem: OSError | None = None
    for address in await addresses.of(host):
        try:
            opened = await _connect(address, port)
        except OSError as exc:
            problem = exc
            continue
        return await _begin(opened, origin, proxy)
    assert problem
    raise problem


async def _connect(address: str, port: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        await asyncio.get_running_loop().sock_connect(opened, (address, port))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _watch(opened)
    except BaseException:
        opened.close()
        raise
    return opened


async def _begin(opened: socket.socket, origin: Origin, proxy: Proxy | None) -> Connection:
    """Make a connection of a socket: through the proxy's tunnel, over TLS, where there are such."""
    tls = _tls() if origin.scheme == "https" else None
    try:
        if proxy is not None and tls is not None:
            await _tunnel(opened, origin, proxy)
        name = origin.host if tls is not None else None
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, sock=opened, ssl=tls, server_hostname=name)
    except BaseException:
        opened.close()
        raise
    return connection


async def _tunnel(tunnel: socket.socket, origin: Origin, proxy: Proxy) -> None:
    """Let a proxy connect a socket with a server."""
    loop = asyncio.get_running_loop()
    answer = b""
    await loop.sock_sendall(tunnel, proxy.tunnel_request(origin))
    while b"\r\n\r\n" not in answer:
        # Nothing can follow the head yet: in TLS it is the client who speaks first.
        piece = await loop.sock_recv(tunnel, MAX_TUNNEL_ANSWER)
        answer += piece
        if not piece or len(answer) > MAX_TUNNEL_ANSWER:
            raise ConnectFailed("the proxy closed the connection in place of opening a tunnel")
    status = answer.split(b"\r\n", 1)[0].decode("latin-1")
    if not status.partition(" ")[2].startswith("2"):
        raise ConnectFailed(f"the proxy does not open a tunnel: {status[:100]}")


def _watch(opened: socket.socket) -> None:
    """Let the kernel find out when a host is gone, whether a request is on its way to it or an answer is waited for."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", PROBE_AFTER),
        ("TCP_KEEPINTVL", PROBE_EVERY),
        ("TCP_KEEPCNT", max(1, (GONE_AFTER - PROBE_AFTER) // PROBE_EVERY)),
        ("TCP_USER_TIMEOUT", GONE_AFTER * 1000),
    ):
        if hasattr(socket, name):  # the names differ between systems; Linux has them all
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


@functools.cache
def _tls() -> ssl.SSLContext:
    """Trust what the system trusts (or SSL_CERT_FILE and SSL_CERT_DIR name), and Mozilla's list where nothing is named."""
    context = ssl.create_default_context()
    if not (os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")):
        context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _reason(error: OSError) -> str:
    """Say what went wrong, without the address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate does not hold: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return f"the host's name can't be found ({error.strerror})"
    if error.errno is not None:
        return os.strerror(error.errno).lower() if error.errno > 0 else str(error.strerror)
    return str(error).partition("[")[0].strip() or type(error).__name__
