"""Remembers in the object store that a server has had API keys, so that a Redis that loses its keys opens no door."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from jobs.storage.object_store import Objects, ObjectStoreError

__all__ = ["keys_were_seen", "remember_keys"]

MARK = "access/keys-were-made"
SAYS = (
    b"This server has had API keys: it lets nobody in without one, even if Redis has lost them. Delete this file to undo that.\n"
)

log = logging.getLogger(__name__)


async def keys_were_seen(objects: Objects) -> bool:
    """Whether there was ever a key, as far as the store knows."""
    try:
        await objects.info(MARK)
    except FileNotFoundError:
        return False
    return True


def remember_keys(objects: Objects) -> Callable[[], Awaitable[None]]:
    """Return what writes the mark. A store that fails is logged: the process itself remembers all the same."""

    async def remember() -> None:
        try:
            await asyncio.shield(objects.write(MARK, SAYS))
        except (ObjectStoreError, OSError) as exc:
            log.error("that there are API keys can't be kept in the store: %s", exc)

    return remember
