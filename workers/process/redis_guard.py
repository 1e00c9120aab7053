"""Keeps a worker alive when Redis goes away while tasks run.

kombu 5.7.0: when the connection breaks with a message unacknowledged, the channel is asked for connection parameters after its
connection has been set to None, and the AttributeError ends the worker instead of the reconnect that a connection error
starts. A late acknowledgement on the old channel fails the same way. Both become the connection error that they are. To be
removed when kombu does so itself; the test restarts Redis under load.
"""

from typing import Any

import redis
from kombu.transport.redis import Channel

__all__ = ["guard_redis_restarts"]

_MARK = "_roadbalancer_guard"


def guard_redis_restarts() -> None:
    """Make the Redis channel report a lost connection as one. Calling it twice is harmless."""
    original: Any = Channel._connparams
    if hasattr(original, _MARK):
        return

    def connparams(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.connection is None or self.connection.client is None:
            raise redis.ConnectionError("the channel has lost its connection")
        return original(self, *args, **kwargs)

    setattr(connparams, _MARK, True)
    setattr(Channel, "_connparams", connparams)  # noqa: B010 (kombu has no types, but this is a method to mypy)
