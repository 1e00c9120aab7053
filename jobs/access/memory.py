"""Remembers in the object store that API keys existed, so that losing Redis does not open the server."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from jobs.storage.object_store import ObjectStore, ObjectStoreError

__all__ = ["keys_were_seen", "remember_keys"]

MARK = "access/keys-were-made"
SAYS = b"This server has had API keys: a key is required, even if Redis has lost them. Delete this file to undo that.\n"

log = logging.getLogger(__name__)


async def keys_were_seen(objects: ObjectStore) -> bool:
    """Whether there was ever a key, as far as the store knows."""
    try:
        await objects.info(MARK)
    except FileNotFoundError:
        return False
    return True


def remember_keys(objects: ObjectStore) -> Callable[[], Awaitable[None]]:
    """Return what writes the mark. A store that fails is logged: the process itself remembers all the same."""

    async def remember() -> None:
        try:
            await asyncio.shield(objects.write(MARK, SAYS))
        except (ObjectStoreError, OSError) as exc:
            log.error("that there are API keys can't be kept in the store: %s", exc)

    return remember
