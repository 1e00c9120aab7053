"""Redis Cluster, used as one shard: all keys have one hash tag, and live on the node that has its slot.

    redis+cluster://[user:password@]host[:port][,host[:port]...]

Any nodes of the cluster may be named; whichever answers first tells who has the slot now. See
redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec, "Hash tags".
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from redis import Redis as BlockingRedis
from redis.asyncio.connection import Connection, SSLConnection
from redis.backoff import NoBackoff
from redis.connection import Connection as BlockingConnection
from redis.connection import SSLConnection as BlockingSSLConnection
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

from balancer.state.connections import BlockingFollowingConnection, FollowingConnection
from balancer.state.hosts_url import HostsUrl

__all__ = ["HASH_TAG", "ClusterAddress", "with_hash_tag"]

HASH_TAG = "{rb}"
SLOT = key_slot(HASH_TAG.encode())
DEFAULT_PORT = 6379
ASK_TIMEOUT = 1.0
"""Seconds that one node may take to connect, and to say who has the slot; then the next one is asked."""
_OF_SERVER = frozenset((
    "ACL", "AUTH", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE", "DISCARD", "ECHO", "EXEC", "FLUSHALL", "FLUSHDB", "HELLO",
    "INFO", "KEYS", "LATENCY", "MULTI", "PING", "PSUBSCRIBE", "PUBLISH", "PUNSUBSCRIBE", "QUIT", "RESET", "ROLE", "SCAN",
    "SCRIPT", "SELECT", "SLOWLOG", "SUBSCRIBE", "TIME", "UNSUBSCRIBE", "UNWATCH", "WAIT", "WAITAOF",
))  # fmt: skip
"""Commands without keys."""
_OF_MANY = frozenset(("DEL", "EXISTS", "MGET", "SDIFF", "SINTER", "SUNION", "TOUCH", "UNLINK", "WATCH"))
"""Commands all of whose arguments are keys. Of others it is the first one."""
_COUNTED = {"EVAL": 2, "EVALSHA": 2, "EVALSHA_RO": 2, "EVAL_RO": 2, "ZDIFF": 1, "ZINTER": 1, "ZINTERCARD": 1, "ZUNION": 1}
"""Where commands with several keys say how many they are."""

ConnectionClass = TypeVar("ConnectionClass", bound=type)


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """Where nodes are, and how they are spoken to: `options` are redis-py's."""

    hosts: tuple[tuple[str, int], ...]
    has_tls: bool
    options: Mapping[str, Any] = field(repr=False)
    """User, password and TLS."""

    @classmethod
    def parse(cls, url: str) -> Self | None:
        """Read an address; None if it is one of another kind. Raises ValueError that says what is wrong."""
        found = HostsUrl.parse(url, "cluster", DEFAULT_PORT)
        if found is None:
            return None
        if found.path not in ("", "0"):
            raise ValueError(f"a cluster has one database only (got {found.path!r} behind the hosts)")
        return cls(found.hosts, found.has_tls, found.options)

    @property
    def connection_class(self) -> type[Connection]:
        """What leads to the node that has the slot, for asyncio. All keys have the hash tag."""
        return self._of_this(_TlsNodeConnection if self.has_tls else _NodeConnection)

    @property
    def blocking_connection_class(self) -> type[BlockingConnection]:
        """The same without asyncio."""
        return self._of_this(_BlockingTlsNodeConnection if self.has_tls else _BlockingNodeConnection)

    @property
    def broker_connection_classes(self) -> tuple[type[BlockingConnection], type[BlockingConnection]]:
        """What leads there for kombu, which puts the hash tag before keys itself: without and with TLS."""
        return self._of_this(_BlockingFindingConnection), self._of_this(_BlockingTlsFindingConnection)

    def owner(self) -> tuple[str, int]:
        """Ask for the node that has the slot. Raises redis's ConnectionError."""
        failures: list[str] = []
        for host, port in self.hosts:
            with BlockingRedis(host=host, port=port, retry=Retry(NoBackoff(), 0), **self._asking) as client:
                try:
                    return _owner_in(client.execute_command("CLUSTER", "SLOTS"), host)
                except (RedisError, LookupError) as exc:
                    failures.append(f"{host}:{port}: {exc}")
        raise RedisConnectionError(f"no node of the cluster says who has slot {SLOT}: {'; '.join(failures)}")

    @property
    def _asking(self) -> dict[str, Any]:
        timeouts = {"socket_timeout": ASK_TIMEOUT, "socket_connect_timeout": ASK_TIMEOUT}
        return {**self.options, **timeouts, **({"ssl": True} if self.has_tls else {})}

    def _of_this(self, connection_class: ConnectionClass) -> ConnectionClass:
        return type(connection_class.__name__, (connection_class,), {"cluster": self})  # type: ignore[return-value]


def _owner_in(slots: Sequence[Sequence[Any]], asked: str) -> tuple[str, int]:
    """Return the primary of our slot from an answer to CLUSTER SLOTS (first and last slot, then the nodes, the primary first; a
    node without a name is the one that was `asked`). Raises LookupError if the slot is not served."""
    for first, last, primary, *_ in slots:
        if first <= SLOT <= last:
            host = primary[0].decode() if isinstance(primary[0], bytes) else primary[0]
            return host or asked, int(primary[1])
    raise LookupError("the slot is not served")


def with_hash_tag(command: Sequence[Any]) -> Sequence[Any]:
    """Return a command with the hash tag before each key that has none, and before those that a script makes itself."""
    name, _, rest = str(command[0]).upper().partition(" ")
    if (name, rest) == ("SCRIPT", "LOAD"):
        return (command[0], command[1].replace("'rb:", f"'{HASH_TAG}rb:"))
    if name in _OF_SERVER:
        return command
    first, end = 1, len(command) if name in _OF_MANY else 2
    if name in _COUNTED:
        first = _COUNTED[name] + 1
        end = first + int(command[first - 1])
    return (*command[:first], *map(_tagged, command[first:end]), *command[end:])


def _tagged(key: str | bytes) -> bytes:
    name = key.encode() if isinstance(key, str) else key
    return name if name.startswith(HASH_TAG.encode()) else HASH_TAG.encode() + name


class _NodeConnection(FollowingConnection, Connection):
    cluster: ClusterAddress

    async def _connect(self) -> None:
        self.host, self.port = await asyncio.to_thread(self.cluster.owner)
        await super()._connect()  # type: ignore[no-untyped-call]

    def pack_command(self, *args: Any) -> list[bytes]:
        return super().pack_command(*with_hash_tag(args))


class _TlsNodeConnection(_NodeConnection, SSLConnection):
    pass


class _BlockingFindingConnection(BlockingFollowingConnection, BlockingConnection):
    cluster: ClusterAddress

    def _connect(self) -> Any:
        self.host, self.port = self.cluster.owner()
        return super()._connect()  # type: ignore[no-untyped-call]


class _BlockingTlsFindingConnection(_BlockingFindingConnection, BlockingSSLConnection):
    pass


class _BlockingNodeConnection(_BlockingFindingConnection):
    def _construct_command_packer(self, packer: Any) -> "_Packer":
        return _Packer(super()._construct_command_packer(packer))  # type: ignore[no-untyped-call]


class _BlockingTlsNodeConnection(_BlockingNodeConnection, BlockingSSLConnection):
    pass


class _Packer:
    """Serialises commands with the hash tag before their keys."""

    def __init__(self, packer: Any) -> None:
        self._packer = packer

    def pack(self, *command: Any) -> Any:
        return self._packer.pack(*with_hash_tag(command))
