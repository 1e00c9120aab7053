"""Keeps the fleet's changes in Redis in step with what is found: one process at a time asks, and all follow."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from balancer.configuration.changes import EndpointChange, changed_endpoint
from balancer.configuration.environment import environment
from balancer.configuration.values import Discovery
from balancer.errors import ConfigurationError
from balancer.runtime.events import audit
from balancer.runtime.periodic import Periodic
from balancer.state.redis_connection import AsyncRedis
from jobs.fleet.changes import check_secrets
from jobs.fleet.kubernetes import ServiceWatch
from jobs.fleet.sources import Found, SourceFailed, endpoints_of
from jobs.storage import keys
from jobs.storage.job_store import job_scripts
from jobs.storage.lock import Lock

__all__ = ["Discoverer", "changes_for"]

LOOK_EVERY = 2.0
LEASE = 10.0
"""Seconds after which another process asks, if the one that did has gone."""

Changes = dict[str, EndpointChange]

log = logging.getLogger(__name__)


class Discoverer:
    """Asks sources each two seconds, and when a watched one changes, while it is the only one. `start` it, and `aclose` it."""

    def __init__(self, redis: AsyncRedis, sources: Sequence[Discovery], process: str) -> None:
        self._redis = redis
        self._sources = sources
        self._lock = Lock(job_scripts(redis), keys.DISCOVERY, process, LEASE)
        self._failing: dict[str, str] = {}
        self._looking = Periodic(self.look, LOOK_EVERY, "discovery", _not_kept)
        services = [source for source in sources if source.kind == "kubernetes"]
        self._watches = {source.id: ServiceWatch(source, self._looking.wake) for source in services}

    def start(self) -> None:
        """Begin, if there is any source."""
        if self._sources:
            self._looking.start()

    async def aclose(self) -> None:
        """Ask no more, and let another process do it."""
        if self._sources:
            await self._looking.aclose()
            await self._watch_no_more()
            await self._lock.release()

    async def look(self) -> None:
        """Ask all sources, if no other process does, and keep what has changed. Raises RedisError."""
        if not self._sources:
            return
        if not await self._lock.hold():
            await self._watch_no_more()
            return
        for source in self._sources:
            try:
                watch = self._watches.get(source.id)
                found = await (watch.endpoints() if watch else endpoints_of(source))
            except SourceFailed as exc:
                self._failed(source.id, f"can't be asked for endpoints, and those that it had stay: {exc}")
                continue
            self._failing.pop(source.id, None)
            await self._keep(source, found)

    async def _watch_no_more(self) -> None:
        for watch in self._watches.values():
            await watch.aclose()

    def _failed(self, what: str, why: str) -> None:
        level = logging.WARNING if self._failing.get(what) != why else logging.DEBUG
        log.log(level, "%s %s", what, why)
        self._failing[what] = why

    async def _keep(self, source: Discovery, found: Found) -> None:
        before = {name.decode(): EndpointChange.from_json(raw) for name, raw in (await self._redis.hgetall(keys.FLEET)).items()}
        for name, change in changes_for(source.id, found, before).items():
            address = None
            try:
                if not change.leaves:
                    check_secrets(change.settings)
                    address = changed_endpoint(name, None, change.settings, environment()).address
            except ConfigurationError as exc:
                self._failed(f"endpoint {name} of {source.id}", f"can't be used: {exc}")
                continue
            await self._redis.hset(keys.FLEET, name, change.to_json())
            event = "endpoint_drained" if change.leaves else "endpoint_changed" if name in before else "endpoint_added"
            audit(log, event, endpoint=name, address=address, source=source.id)


def changes_for(source: str, found: Mapping[str, Mapping[str, Any]], before: Mapping[str, EndpointChange]) -> Changes:
    """Return what is to be changed so that the fleet has what a source has found (pure).

    What is gone is drained, and removed when nothing is in flight there; what is back before that is used again. Settings that
    were changed by hand stay. An endpoint that is there by another way is left alone.
    """
    wanted: dict[str, EndpointChange] = {}
    for name, settings in found.items():
        known = before.get(name)
        if known is None:
            wanted[name] = EndpointChange(settings, source=source, found=settings)
        elif known.source == source and (known.leaves or known.found != settings):
            by_hand = {key: value for key, value in known.settings.items() if known.found.get(key) != value}
            draining = known.draining and not known.leaves
            wanted[name] = replace(
                known, settings={**settings, **by_hand}, found=settings, draining=draining, leaves=False, removed=False
            )
    for name, known in before.items():
        if known.source == source and name not in found and not known.leaves and not known.removed:
            wanted[name] = replace(known, draining=True, leaves=True)
    return wanted


def _not_kept(error: Exception) -> None:
    log.warning("discovery: Redis is unavailable (%s)", error)
