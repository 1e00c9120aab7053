"""Changes of the fleet in Redis, which every process follows: endpoints that are added, changed, drained and removed."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from balancer.configuration import Configuration, load_configuration
from balancer.configuration.changes import ChangedFleet, EndpointChange, changed_endpoint, changed_fleet
from balancer.configuration.environment import environment
from balancer.endpoint import Endpoint
from balancer.errors import ConfigurationError
from balancer.fleet.fleet import Fleet
from balancer.runtime.events import audit
from balancer.runtime.periodic import Periodic
from balancer.runtime.rereading import Rereading
from balancer.state.redis_connection import AsyncRedis
from jobs.errors import NotFound
from jobs.storage import keys

__all__ = ["FleetChanges", "FleetFollower", "check_secrets"]

LOOK_EVERY = 0.5
"""Seconds between looks at the changes."""
_IN_THE_OPEN = ("api_key",)
"""Settings that may name a variable only: what stands in Redis is no secret."""

log = logging.getLogger(__name__)


class FleetChanges:
    """Reads and writes the changes; `configured` are the endpoints of this process's configuration."""

    def __init__(self, redis: AsyncRedis, configured: tuple[Endpoint, ...]) -> None:
        self._redis = redis
        self._configured = {endpoint.name: endpoint for endpoint in configured}

    async def read(self) -> dict[str, EndpointChange]:
        """Return all changes by the endpoints' names."""
        found = await self._redis.hgetall(keys.FLEET)
        return {name.decode(): EndpointChange.from_json(raw) for name, raw in found.items()}

    async def add(self, settings: Mapping[str, Any]) -> Endpoint:
        """Add an endpoint, of the settings that an entry of `endpoints` has. Raises ConfigurationError for what can't be used, or
        if there is one of that name."""
        check_secrets(settings)
        endpoint = changed_endpoint("", None, settings, environment())
        name = endpoint.name
        known = await self.read()
        if name in self._configured and not known.get(name, EndpointChange()).removed:
            raise ConfigurationError("endpoint", "name", f"{name!r} is configured already; `set` changes it")
        if name in known and not known[name].removed:
            raise ConfigurationError("endpoint", "name", f"there is an endpoint {name!r} already; `set` changes it")
        await self._put(name, EndpointChange({**settings, "name": name}))
        audit(log, "endpoint_added", endpoint=name, address=endpoint.address, settings=sorted(settings))
        return self._effective(await self.read()).endpoints[name]

    async def change(self, name: str, settings: Mapping[str, Any]) -> Endpoint:
        """Change settings of an endpoint. Raises NotFound, and ConfigurationError for what can't be used."""
        check_secrets(settings)
        if "name" in settings:
            raise ConfigurationError("endpoint", "name", "can't be changed: its queue and its counters go by it")
        known = await self._known(name)
        change = replace(known, settings={**known.settings, **settings})
        changed_endpoint(name, self._configured.get(name), change.settings, environment())
        await self._put(name, change)
        audit(log, "endpoint_changed", endpoint=name, settings=sorted(settings))
        return self._effective(await self.read()).endpoints[name]

    async def drain(self, name: str, leaves: bool = False) -> None:
        """Let an endpoint get nothing more; with `leaves`, it is removed when nothing is in flight there. Raises NotFound."""
        await self._put(name, replace(await self._known(name), draining=True, leaves=leaves))
        audit(log, "endpoint_drained", endpoint=name, removed_then=leaves or None)

    async def use_again(self, name: str) -> None:
        """End the draining of an endpoint. Raises NotFound."""
        await self._put(name, replace(await self._known(name), draining=False, leaves=False))
        audit(log, "endpoint_used_again", endpoint=name)

    async def remove(self, name: str) -> None:
        """Use an endpoint no more; requests in flight there end as they do. Raises NotFound."""
        await self._known(name)
        if name in self._configured:
            await self._put(name, EndpointChange(removed=True))
        else:
            await self._redis.hdel(keys.FLEET, name)
        audit(log, "endpoint_removed", endpoint=name)

    async def _known(self, name: str) -> EndpointChange:
        changes = await self.read()
        if name not in self._effective(changes).endpoints:
            raise NotFound("endpoint", name)
        return changes.get(name, EndpointChange())

    def _effective(self, changes: Mapping[str, EndpointChange]) -> ChangedFleet:
        return changed_fleet(tuple(self._configured.values()), changes, environment())

    async def _put(self, name: str, change: EndpointChange) -> None:
        await self._redis.hset(keys.FLEET, name, change.to_json())


class FleetFollower:
    """Applies the configuration and the changes to a process's fleet. `start` it, and `aclose` it. `on_change` is called after
    each change.

    The configuration's file is read again after SIGHUP, and when it has changed if it is watched; one that can't be used changes
    nothing. Of what stands in it, endpoints change at once; other settings hold from the next start on.
    """

    def __init__(self, redis: AsyncRedis, fleet: Fleet, configuration: Configuration) -> None:
        self.on_change: Callable[[], object] = lambda: None
        self._redis = redis
        self._fleet = fleet
        self._configuration = configuration
        self._configured = configuration.endpoints
        self._rereading = Rereading(configuration.source, configuration.watch)
        self._seen: dict[bytes, bytes] = {}
        self._looking = Periodic(self.look, LOOK_EVERY, "fleet changes", _not_seen)

    def start(self) -> None:
        """Begin to follow."""
        self._looking.start()

    async def aclose(self) -> None:
        """Follow no more."""
        await self._looking.aclose()

    async def look(self) -> None:
        """Read the changes, and apply them. Raises RedisError."""
        before = self._configured
        if self._rereading.is_due():
            await asyncio.to_thread(self._read_again)
        found = await self._redis.hgetall(keys.FLEET)
        if found != self._seen or self._configured is not before:
            self._seen = found
            self._apply()

    def _read_again(self) -> None:
        source = self._configuration.source
        try:
            self._configured = load_configuration(source).endpoints
        except ConfigurationError as exc:
            log.error("%s can't be used, and changes nothing: %s", source, exc)
            return
        log.info("%s was read again", source)

    def _apply(self) -> None:
        changes = {name.decode(): EndpointChange.from_json(raw) for name, raw in self._seen.items()}
        wanted = changed_fleet(self._configured, changes, environment())
        for name, problem in wanted.problems.items():
            log.error("the change of endpoint %s can't be used here: %s", name, problem)
        fleet = self._fleet
        for name, endpoint in list(fleet.endpoints.items()):
            if wanted.endpoints.get(name) != endpoint:
                fleet.remove(name)
        for name, endpoint in wanted.endpoints.items():
            if name not in fleet.endpoints:
                fleet.add(endpoint)
        fleet.drain(wanted.draining)
        log.info("the fleet is %s", ", ".join(sorted(fleet.endpoints)) or "empty")
        self.on_change()


def check_secrets(settings: Mapping[str, Any]) -> None:
    """Raise ConfigurationError if settings that are to be kept in Redis hold a key instead of the name of a variable."""
    for name in _IN_THE_OPEN:
        value = settings.get(name)
        if value and not (isinstance(value, str) and value.startswith("${") and value.endswith("}")):
            reason = "must name a variable of the processes' environment, such as ${OPENAI_API_KEY}: it is kept in Redis"
            raise ConfigurationError("endpoint", name, reason)


def _not_seen(error: Exception) -> None:
    log.warning("changes of the fleet can't be read: Redis is unavailable (%s)", error)
