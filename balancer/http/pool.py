"""The HTTP client that endpoints are asked with: HTTP/1.1 connections, kept open and used again.

Measured beside two general clients in docs/benchmarks.md: it costs a fraction of their CPU, since it does what an endpoint needs
and no more, and closes a connection the moment that its request is not wanted any more.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from balancer.http.addresses import Addresses
from balancer.http.client import MAX_ANSWER_BYTES, HttpAnswer, HttpClient, HttpStream, Origin, PreparedRequest
from balancer.http.connection import Connection
from balancer.http.errors import RequestAborted
from balancer.http.opening import open_connection
from balancer.http.proxies import Proxy, proxy_for

__all__ = ["PooledClient"]

IDLE_SECONDS = {"http": 4.0, "https": 30.0}
"""How long a connection is kept without a request. A server that closes one earlier says so, and it is forgotten then. But a
request may cross that: uvicorn, which vLLM runs on, closes after 5 s. A new connection without TLS costs next to nothing."""


class PooledClient(HttpClient):
    """Use it on one event loop at a time. Redirects are not followed: they would take the key to another host."""

    def __init__(self, connect_timeout: float = 5.0, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        """`connect_timeout` is in seconds; a larger answer is left where it grows too large."""
        self._connect_timeout = connect_timeout
        self._max_answer_bytes = max_answer_bytes
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: dict[Origin, list[Connection]] = defaultdict(list)
        """The one that was used last is used next, so that those beyond what is needed grow old."""
        self._proxies: dict[Origin, Proxy | None] = {}
        self._addresses = Addresses()
        self._in_flight: dict[str, set[Connection]] = defaultdict(set)
        self._is_closed = False

    async def send(
        self,
        request: PreparedRequest,
        body: bytes,
        timeout: float,
        in_gulps: bool = False,
        before_sending: Callable[[], None] = lambda: None,
    ) -> HttpAnswer:
        connection = self._take_idle(request.origin) or await self._open(request.origin)
        in_flight = self._in_flight[request.group]
        in_flight.add(connection)
        try:
            message = self._message(request, body)
            before_sending()
            return await connection.send(message, timeout, self._max_answer_bytes, in_gulps)
        finally:
            in_flight.discard(connection)
            self._keep(request.origin, connection)

    @asynccontextmanager
    async def stream(self, request: PreparedRequest, body: bytes, timeout: float) -> AsyncGenerator[HttpStream, None]:
        connection = self._take_idle(request.origin) or await self._open(request.origin)
        in_flight = self._in_flight[request.group]
        in_flight.add(connection)
        try:
            yield await connection.open_stream(self._message(request, body), timeout)
        finally:
            connection.close_stream()
            in_flight.discard(connection)
            self._keep(request.origin, connection)

    def abort(self, group: str, why: str) -> int:
        taken_back = list(self._in_flight.get(group, ()))
        for connection in taken_back:
            connection.fail(RequestAborted(why))
        return len(taken_back)

    async def aclose(self) -> None:
        self._is_closed = True
        for connections in (*self._idle.values(), *self._in_flight.values()):
            for connection in connections:
                connection.abort()
        self._idle.clear()

    def _message(self, request: PreparedRequest, body: bytes) -> bytes:
        proxy = self._proxies[request.origin]
        if proxy is None or request.origin.scheme == "https":
            return request.message(body)
        # Requests to an HTTP proxy have their target in absolute form (RFC 9112, 3.2.2).
        return request.message(body, request.head_for(f"http://{request.host}{request.target}", proxy.headers))

    def _take_idle(self, origin: Origin) -> Connection | None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._idle.clear()  # connections belong to the loop that opened them
            self._loop = loop
        idle = self._idle[origin]
        while idle:
            connection = idle.pop()
            if connection.is_open and loop.time() - connection.idle_since < IDLE_SECONDS[origin.scheme]:
                return connection
            connection.abort()
        return None

    async def _open(self, origin: Origin) -> Connection:
        if origin not in self._proxies:
            self._proxies[origin] = proxy_for(origin)
        return await open_connection(origin, self._proxies[origin], self._addresses, self._connect_timeout)

    def _keep(self, origin: Origin, connection: Connection) -> None:
        if not connection.is_reusable or self._is_closed:  # it may have been opened meanwhile
            connection.abort()
            return
        idle = self._idle[origin]
        idle.append(connection)
        if connection.idle_since - idle[0].idle_since > IDLE_SECONDS[origin.scheme]:
            idle.pop(0).abort()
