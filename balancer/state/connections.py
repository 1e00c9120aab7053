"""Connections to Redis that say in redis-py's words when they are lost, and that follow a server to its successor."""

from collections.abc import Iterable
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.connection import AbstractConnection as BlockingAbstractConnection
from redis.exceptions import AskError, ClusterDownError, ResponseError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError

__all__ = ["BlockingFollowingConnection", "FollowingConnection", "reporting_loss"]


class _LossReportingConnection(AbstractConnection):
    """A mixin for asyncio. What was lost a moment ago is written to before a read tells: by uvloop that is a RuntimeError, which
    no retry expects and no caller; here it is redis-py's ConnectionError."""

    async def _send_packed_command(self, command: Iterable[bytes]) -> None:
        try:
            await super()._send_packed_command(command)
        except RuntimeError as exc:
            raise RedisConnectionError(f"the connection was lost: {exc}") from exc


def reporting_loss(connection_class: type[Any]) -> type[Any]:
    """Return a class of connections for asyncio that raises ConnectionError whenever a connection is lost."""
    return type(connection_class.__name__, (_LossReportingConnection, connection_class), {})


class FollowingConnection(_LossReportingConnection):
    """Closed when its server has, or may have, a successor; it looks for that when it is opened again.

    For asyncio. A mixin, before a class whose `connect` finds the server.
    """

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        if not self.is_connected:
            # redis-py 8.1 looks for the server when a pool hands the connection out, but opens one that broke in the middle of a
            # transaction to the same server again.
            await self.connect()  # type: ignore[no-untyped-call]
        await super().send_packed_command(*args, **options)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except ResponseError as exc:
            if not _may_have_successor(exc):
                raise
            await self.disconnect()
            raise RedisConnectionError(f"{type(exc).__name__}: {exc}") from exc


class BlockingFollowingConnection(BlockingAbstractConnection):
    """The same without asyncio, for Celery as well."""

    def send_packed_command(self, *args: Any, **options: Any) -> None:
        if not self.is_connected:
            self.connect()  # type: ignore[no-untyped-call]
        super().send_packed_command(*args, **options)  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)
        except ResponseError as exc:
            if not _may_have_successor(exc):
                raise
            self.disconnect()  # type: ignore[no-untyped-call]
            raise RedisConnectionError(f"{type(exc).__name__}: {exc}") from exc


def _may_have_successor(error: ResponseError) -> bool:
    """Whether a server refuses to write because it has lost its replicas (`min-replicas-to-write`: it was away for a while, and
    they follow another one), has just become a replica itself, or does not serve the key's slot of a cluster (now)."""
    if isinstance(error, (AskError, ClusterDownError, TryAgainError)):  # a MovedError is an AskError
        return True
    return str(error).startswith(("NOREPLICAS", "UNBLOCKED"))
