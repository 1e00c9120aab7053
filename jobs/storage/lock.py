"""Locks in Redis with an owner and a lease."""

from balancer.state.scripts import Scripts

__all__ = ["Lock"]


class Lock:
    """The lock `key`, as `owner` sees it; held for `lease` seconds from each `hold`.

    Whether it is the owner's is checked in the same atomic step that changes it, since it may run out at any moment. All methods
    raise RedisError.
    """

    def __init__(self, scripts: Scripts, key: str, owner: str, lease: float) -> None:
        self._scripts = scripts
        self._key = key
        self._owner = owner
        self._lease_ms = int(lease * 1000)

    async def hold(self) -> bool:
        """Take the lock if it is free, or keep it for another lease; return whether the owner has it now."""
        return bool(await self._scripts.run("hold_lock", [self._key], [self._owner, self._lease_ms]))

    async def release(self) -> bool:
        """Release the lock, unless it is another's; return whether it was the owner's."""
        return bool(await self._scripts.run("release_lock", [self._key], [self._owner]))
