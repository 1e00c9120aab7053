"""Redis behind Sentinel: its addresses, and connections that lead to whichever server is the primary now.

    redis+sentinel://[user:password@]host[:port][,host[:port]...]/name[/database][?sentinel_username=...&sentinel_password=...]

`rediss+sentinel://` is the same with TLS, to the servers and to the Sentinels. User and password are those of the servers.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection
from redis.backoff import NoBackoff
from redis.connection import SSLConnection as BlockingSSLConnection
from redis.retry import Retry as BlockingRetry
from redis.sentinel import SentinelManagedConnection as BlockingManagedConnection

from balancer.state.connections import BlockingFollowingConnection, FollowingConnection, reporting_loss
from balancer.state.hosts_url import HostsUrl

__all__ = ["BlockingPrimaryConnection", "BlockingPrimaryTlsConnection", "SentinelAddress", "SentinelPool"]

DEFAULT_PORT = 26379
ASK_TIMEOUT = 1.0
"""Seconds that one Sentinel may take to connect, and to answer; then the next one is asked."""


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """Where the Sentinels are, and how the servers behind `service` are spoken to: `options` are redis-py's."""

    hosts: tuple[tuple[str, int], ...]
    service: str
    database: int
    has_tls: bool
    options: Mapping[str, Any] = field(repr=False)
    """User, password and TLS of the servers."""
    own_options: Mapping[str, Any] = field(repr=False)
    """User, password and TLS of the Sentinels, and their timeouts."""

    @classmethod
    def parse(cls, url: str) -> Self | None:
        """Read an address; None if it is one of another kind. Raises ValueError that says what is wrong."""
        found = HostsUrl.parse(url, "sentinel", DEFAULT_PORT, ("sentinel_username", "sentinel_password"))
        if found is None:
            return None
        service, _, database = found.path.partition("/")
        if not service:
            raise ValueError("needs the name of the service behind the hosts: redis+sentinel://host1,host2/mymaster")
        if not re.fullmatch("[0-9]{0,4}", database):
            raise ValueError(f"the database behind the name must be a number (got {database!r})")
        own = {name.removeprefix("sentinel_"): value for name, value in found.own_options.items()}
        timeouts = {"socket_timeout": ASK_TIMEOUT, "socket_connect_timeout": ASK_TIMEOUT}
        own_options = own | found.tls_options | timeouts
        return cls(found.hosts, service, int(database or 0), found.has_tls, found.options, own_options)

    @property
    def server_options(self) -> dict[str, Any]:
        """What a client of the primary is made with, beside its timeouts."""
        return {**self.options, "db": self.database, **({"ssl": True} if self.has_tls else {})}

    @property
    def connection_class(self) -> type[SentinelManagedConnection]:
        """What leads to the primary, for asyncio."""
        return _PrimaryTlsConnection if self.has_tls else _PrimaryConnection

    def asyncio_sentinel(self) -> Sentinel:
        """Return what asks the Sentinels, for asyncio; each is asked once."""
        return _Sentinels(self.hosts, {**self.own_options, "retry": Retry(NoBackoff(), 0)})

    @property
    def blocking_sentinel_options(self) -> dict[str, Any]:
        """What a client of a Sentinel is made with, without asyncio. It asks once: there are others to ask."""
        return {**self.own_options, "retry": BlockingRetry(NoBackoff(), 0)}


class _PrimaryConnection(FollowingConnection, SentinelManagedConnection):
    """A connection to the primary, which is asked for whenever it is opened.

    The pool of redis-py 8.1 keeps one that was in use while it learned of another primary. What was read there would be old, for
    the seconds until the Sentinels tell that server.
    """

    def should_reconnect(self) -> bool:
        """Whether a pool must close the connection rather than keep it."""
        known = self.connection_pool.master_address
        return bool(super().should_reconnect()) or known not in (None, (self.host, self.port))  # type: ignore[no-untyped-call]


class _PrimaryTlsConnection(_PrimaryConnection, SSLConnection):
    pass


class BlockingPrimaryConnection(BlockingFollowingConnection, BlockingManagedConnection):
    """The same without asyncio, for Celery as well."""


class BlockingPrimaryTlsConnection(BlockingPrimaryConnection, BlockingSSLConnection):
    """The same with TLS."""


class _Sentinels(Sentinel):
    """Those of a service, of which the one that answered last is asked first."""

    def __init__(self, hosts: Sequence[tuple[str, int]], sentinel_kwargs: Mapping[str, Any]) -> None:
        super().__init__(hosts, sentinel_kwargs=dict(sentinel_kwargs))  # type: ignore[no-untyped-call]
        for sentinel in self.sentinels:
            sentinel.connection_pool.connection_class = reporting_loss(sentinel.connection_pool.connection_class)

    async def discover_master(self, service_name: str) -> Any:
        """Return host and port of the primary. Raises MasterNotFoundError.

        redis-py 8.1 moves the one that answered to the front of the list by the index that it had before it was asked. Of two
        callers at once, the second put it there twice and lost another one, which was never asked again, nor closed.
        """
        asked = copy.copy(self)
        asked.sentinels = list(self.sentinels)
        address = await super(_Sentinels, asked).discover_master(service_name)
        answered = asked.sentinels[0]
        self.sentinels.sort(key=lambda sentinel: sentinel is not answered)
        return address


class SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the primary, of which one waits for a free one. Each new one asks the Sentinels where it leads to; one that
    finds its server demoted is closed."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections, with `inuse_connections` all of them and those to the Sentinels; others are made when needed.

        redis-py 8.1 closes idle ones by tasks that begin later, when one may have been handed out: it broke in the hands of its
        user.
        """
        if not inuse_connections:
            idle, self._available_connections = self._available_connections, []
            for connection in idle:
                await connection.disconnect(nowait=True)
            return
        await super().disconnect()
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()
