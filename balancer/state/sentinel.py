"""Redis behind Sentinel: its addresses, and connections that lead to whichever server is the primary now.

    redis+sentinel://[user:password@]host[:port][,host[:port]...]/name[/database][?sentinel_username=...&sentinel_password=...]

`rediss+sentinel://` is the same with TLS, to the servers and to the Sentinels; redis-py's options (`ssl_ca_certs` and the like)
may follow as well. User and password are those of the servers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection
from redis.backoff import NoBackoff
from redis.connection import SSLConnection as BlockingSSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.retry import Retry as BlockingRetry
from redis.sentinel import SentinelManagedConnection as BlockingManagedConnection

__all__ = ["BlockingPrimaryConnection", "BlockingPrimaryTlsConnection", "SentinelAddress", "SentinelPool"]

DEFAULT_PORT = 26379
ASK_TIMEOUT = 1.0
"""Seconds that one Sentinel may take to connect, and to answer; then the next one is asked."""
_SCHEME = re.compile(r"(rediss?)\+sentinel://")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:/?#@,\s]+)(?::([0-9]{1,5}))?")


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
        """Read an address; None if it is one of a single server. Raises ValueError that says what is wrong."""
        matched = _SCHEME.match(url)
        if matched is None:
            return None
        parts = urlsplit(url)
        credentials, _, hosts = parts.netloc.rpartition("@")
        service, _, database = parts.path.strip("/").partition("/")
        if not service:
            raise ValueError("needs the name of the service behind the hosts: redis+sentinel://host1,host2/mymaster")
        if not re.fullmatch("[0-9]{0,4}", database):
            raise ValueError(f"the database behind the name must be a number (got {database!r})")
        query = parse_qs(parts.query)
        own = {name: query.pop(f"sentinel_{name}", [None])[0] for name in ("username", "password")}
        user = f"{credentials}@" if credentials else ""
        options: dict[str, Any] = dict(parse_url(f"{matched[1]}://{user}unused/?{urlencode(query, doseq=True)}"))
        has_tls = options.pop("connection_class", None) is not None
        for name in ("host", "port", "db"):
            options.pop(name, None)
        tls = {name: value for name, value in options.items() if name.startswith("ssl_")} | ({"ssl": True} if has_tls else {})
        timeouts = {"socket_timeout": ASK_TIMEOUT, "socket_connect_timeout": ASK_TIMEOUT}
        return cls(
            tuple(_host(host) for host in hosts.split(",")),
            service,
            int(database or 0),
            has_tls,
            options,
            {name: value for name, value in own.items() if value is not None} | tls | timeouts,
        )

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
        return Sentinel(self.hosts, sentinel_kwargs={**self.own_options, "retry": Retry(NoBackoff(), 0)})

    @property
    def blocking_sentinel_options(self) -> dict[str, Any]:
        """What a client of a Sentinel is made with, without asyncio. It asks once: there are others to ask."""
        return {**self.own_options, "retry": BlockingRetry(NoBackoff(), 0)}


def _host(text: str) -> tuple[str, int]:
    matched = _HOST.fullmatch(text)
    if matched is None or not 0 < int(matched[2] or DEFAULT_PORT) < 65536:
        raise ValueError(f"{text!r} is no host or host:port of a Sentinel")
    return matched[1].strip("[]"), int(matched[2] or DEFAULT_PORT)


class _PrimaryConnection(SentinelManagedConnection):
    """A connection that is closed when its server may have a successor, and asks the Sentinels whenever it is opened again.

    redis-py 8.1 asks them when a pool hands the connection out, but opens one that broke in the middle of a transaction to the
    same server again. It also keeps one that was in use while the pool learned of another primary: what was read there would be
    old for the seconds until the Sentinels tell that server.
    """

    def should_reconnect(self) -> bool:
        """Whether a pool must close the connection rather than keep it."""
        known = self.connection_pool.master_address
        return bool(super().should_reconnect()) or known not in (None, (self.host, self.port))  # type: ignore[no-untyped-call]

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        if not self.is_connected:
            await self.connect()  # type: ignore[no-untyped-call]
        await super().send_packed_command(*args, **options)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except ResponseError as exc:
            if not _may_have_successor(exc):
                raise
            await self.disconnect()
            raise RedisConnectionError(str(exc)) from exc


class _PrimaryTlsConnection(_PrimaryConnection, SSLConnection):
    pass


class BlockingPrimaryConnection(BlockingManagedConnection):
    """The same without asyncio, for Celery as well."""

    def send_packed_command(self, *args: Any, **options: Any) -> None:
        if not self._sock:
            self.connect()  # type: ignore[no-untyped-call]
        super().send_packed_command(*args, **options)  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)
        except ResponseError as exc:
            if not _may_have_successor(exc):
                raise
            self.disconnect()  # type: ignore[no-untyped-call]
            raise RedisConnectionError(str(exc)) from exc


class BlockingPrimaryTlsConnection(BlockingPrimaryConnection, BlockingSSLConnection):
    """The same with TLS."""


def _may_have_successor(error: ResponseError) -> bool:
    """Whether a server refuses to write because it has lost its replicas (`min-replicas-to-write`: it was away for a while, and
    they follow another one), or has just become a replica itself."""
    return str(error).startswith(("NOREPLICAS", "UNBLOCKED"))


class SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the primary, of which one waits for a free one. Each new one asks the Sentinels where it leads to; one that
    finds its server demoted is closed."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections, with `inuse_connections` all of them and those to the Sentinels; others are made when needed."""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.aclose()
