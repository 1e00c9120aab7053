"""Keys, fleet and usage of a server: the methods of KeyStore, FleetChanges and the account that commands use, over HTTP."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from api_roadbalancer.remote.records import endpoint_of, key_of, usage_of
from api_roadbalancer.remote.server import TeamServer
from balancer.usage.query import UsageQuery
from balancer.usage.report import UsageReport
from jobs.access.record import KeyRecord, Limits
from jobs.access.store import KeyOrder, key_in_use
from jobs.monitoring.overview import EndpointState
from jobs.upkeep.erasure import Erased

__all__ = ["RemoteFleet", "RemoteKeys", "remote_usage"]

ENDPOINTS = "/api/v1/endpoints"
KEYS = "/api/v1/keys"


class RemoteKeys:
    """API keys. Every method raises ServerRefused."""

    def __init__(self, server: TeamServer) -> None:
        self._server = server

    async def create(self, order: KeyOrder) -> tuple[KeyRecord, str]:
        """Make a key and return it with its secret."""
        fields = {"models": list(order.models), "limits": order.limits.to_dict(), "admin": order.admin}
        lifetime = None if order.lifetime is None else int(order.lifetime)
        made = await self._server.ask("POST", KEYS, json={"name": order.name, "lifetime": lifetime, **fields})
        return key_of(made), str(made["secret"])

    async def all(self) -> list[KeyRecord]:
        """Return all keys, oldest first."""
        return [key_of(each) for each in (await self._server.get(KEYS))["data"]]

    async def in_use(self, wanted: str) -> KeyRecord:
        """Return the key with this id or name that is not revoked. Raises NoSuchKey."""
        return key_in_use(await self.all(), wanted)

    async def change(self, wanted: str, limits: Limits | None = None, models: Sequence[str] | None = None) -> KeyRecord:
        """Give a key other limits, or models; its secret stays."""
        fields = {"limits": limits.to_dict() if limits is not None else None, "models": None if models is None else list(models)}
        body = {name: value for name, value in fields.items() if value is not None}
        return key_of(await self._server.ask("PATCH", _path(KEYS, wanted), json=body))

    async def rotate(self, wanted: str, overlap: float) -> tuple[KeyRecord, str]:
        """Give a key another secret, and return both."""
        made = await self._server.ask("POST", f"{_path(KEYS, wanted)}/rotate", json={"overlap": int(overlap)})
        return key_of(made), str(made["secret"])

    async def revoke(self, wanted: str) -> KeyRecord:
        """Revoke a key, and return it. Raises NoSuchKey."""
        found = await self.in_use(wanted)
        await self._server.ask("DELETE", _path(KEYS, found.id))
        return found

    async def erase(self, wanted: str) -> Erased:
        """Delete what belongs to a key, as jobs.upkeep.erasure.erase_key does."""
        found = await self._server.ask("DELETE", f"{_path(KEYS, wanted)}/data")
        return Erased(**{name: int(found[name]) for name in ("jobs", "files", "responses", "answers", "unfinished")})


class RemoteFleet:
    """The fleet, and changes of it. Every method raises ServerRefused."""

    def __init__(self, server: TeamServer) -> None:
        self._server = server

    async def states(self) -> list[EndpointState]:
        """Return all endpoints."""
        return [endpoint_of(each) for each in (await self._server.get(ENDPOINTS))["data"]]

    async def add(self, settings: Mapping[str, Any]) -> EndpointState:
        """Add an endpoint, and return it."""
        return endpoint_of(await self._server.ask("POST", ENDPOINTS, json=dict(settings)))

    async def change(self, name: str, settings: Mapping[str, Any]) -> None:
        """Change settings of an endpoint."""
        await self._server.ask("PATCH", _path(ENDPOINTS, name), json=dict(settings))

    async def drain(self, name: str, leaves: bool = False) -> None:
        """Let an endpoint get nothing more; with `leaves`, it is removed when nothing is in flight there."""
        if leaves:
            await self._server.ask("DELETE", _path(ENDPOINTS, name), params={"drain": True})
        else:
            await self.change(name, {"draining": True})

    async def use_again(self, name: str) -> None:
        """End the draining of an endpoint."""
        await self.change(name, {"draining": False})

    async def remove(self, name: str) -> None:
        """Use an endpoint no more."""
        await self._server.ask("DELETE", _path(ENDPOINTS, name))


async def remote_usage(server: TeamServer, query: UsageQuery) -> tuple[UsageReport, Any]:
    """Return what was used, and the server's own answer. Raises ServerRefused."""
    span = {"from": query.first.isoformat(), "to": query.last.isoformat()}
    found = await server.ask("GET", "/api/v1/usage", params={**span, "by": ",".join(query.by)})
    return usage_of(found, query), found


def _path(folder: str, name: str) -> str:
    return f"{folder}/{quote(name, safe='')}"
