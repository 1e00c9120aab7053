"""Opens connections: TCP with keep-alive probes, TLS, and tunnels through proxies."""

import asyncio
import functools
import os
import socket
import ssl
from collections.abc import Sequence

import certifi

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


async def open_connection(origin: Origin, proxy: Proxy | None, timeout: float) -> Connection:
    """Connect to a server, or to the proxy before it, within `timeout` seconds. Raises ConnectFailed and ConnectTimeout."""
    try:
        async with asyncio.timeout(timeout):
            connection = await _open(origin, proxy)
    except TimeoutError:
        raise ConnectTimeout from None
    except OSError as exc:  # TLS errors are OSErrors too
        raise ConnectFailed(_reason(exc)) from exc
    return connection


async def _open(origin: Origin, proxy: Proxy | None) -> Connection:
    loop = asyncio.get_running_loop()
    tls = _tls() if origin.scheme == "https" else None
    if proxy is not None and tls is not None:
        tunnel = await _tunnel(origin, proxy)
        _, connection = await loop.create_connection(Connection, sock=tunnel, ssl=tls, server_hostname=origin.host)
        return connection
    host, port = (proxy.host, proxy.port) if proxy is not None else (origin.host, origin.port)
    transport, connection = await loop.create_connection(Connection, host, port, ssl=tls)
    _watch(transport.get_extra_info("socket"))
    return connection


async def _tunnel(origin: Origin, proxy: Proxy) -> socket.socket:
    """Return a socket that a proxy has connected to a server."""
    loop = asyncio.get_running_loop()
    found: Sequence[tuple[int, int, int, str, tuple[object, ...]]]
    found = await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    tunnel = socket.socket(family, kind, protocol)
    try:
        tunnel.setblocking(False)
        await loop.sock_connect(tunnel, address)
        _watch(tunnel)
        await loop.sock_sendall(tunnel, proxy.tunnel_request(origin))
        answer = b""
        while b"\r\n\r\n" not in answer:
            # A byte at a time beyond the head would be TLS, which only begins when the client speaks.
            piece = await loop.sock_recv(tunnel, MAX_TUNNEL_ANSWER)
            answer += piece
            if not piece or len(answer) > MAX_TUNNEL_ANSWER:
                raise ConnectFailed("the proxy closed the connection in place of opening a tunnel")
        status = answer.split(b"\r\n", 1)[0].decode("latin-1")
        if not status.partition(" ")[2].startswith("2"):
            raise ConnectFailed(f"the proxy does not open a tunnel: {status[:100]}")
    except BaseException:
        tunnel.close()
        raise
    return tunnel


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
