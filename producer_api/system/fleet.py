"""Routes of the fleet: its endpoints as they are, and changes of them while it runs.

A change is kept in Redis, over the configuration; every process follows it within two seconds.
"""

from collections.abc import Awaitable
from typing import TypeVar

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from balancer.errors import ConfigurationError
from jobs.errors import InvalidRequest, NotFound
from jobs.fleet.changes import FleetChanges
from jobs.monitoring.overview import EndpointState, endpoint_states
from jobs.upkeep.history import Sample, history_of
from producer_api.context import Api, ApiContext
from producer_api.http.openapi import errors

__all__ = ["router"]

T = TypeVar("T")

router = APIRouter(prefix="/endpoints", tags=["system"], responses=errors(401, 403, 422, 500, 503))


class EndpointObject(BaseModel):
    """One endpoint. `latency` is the moving average in seconds; `in_flight` counts requests of all processes, `open_lines` what
    it has been given and not finished, `queued` the shards that wait in its queue; `limited_by` says what has set a
    `max_concurrency` that finds itself (null for a number); `ok` and `failed` count requests. One that is `draining` gets nothing
    more."""

    name: str
    url: str
    provider: str
    models: list[str]
    weight: float
    priority: int
    circuit: str
    usable: bool
    draining: bool
    in_flight: int
    max_concurrency: int
    limited_by: str | None
    open_lines: int
    queued: int
    latency: float | None
    ok: int
    failed: int
    last_error: str | None


class EndpointList(BaseModel):
    """The fleet."""

    object: str = "list"
    data: list[EndpointObject]


class EndpointHistory(BaseModel):
    """Samples, oldest first."""

    object: str = "list"
    data: list[Sample]


class EndpointSettings(BaseModel):
    """An entry of `endpoints` in the configuration file: `url` or `provider`, and whatever else it may have there. Texts may have
    `${NAME}`, which each process reads from its environment; `api_key` has to be one of these."""

    model_config = ConfigDict(extra="allow")

    url: str | None = None
    name: str | None = None
    provider: str | None = None


class EndpointPatch(BaseModel):
    """Settings to change, as in the configuration file; with `draining` the endpoint gets nothing more."""

    model_config = ConfigDict(extra="allow")

    draining: bool | None = None


@router.get("", summary="The fleet: health, load and errors of every endpoint")
async def list_endpoints(api: Api) -> EndpointList:
    """Return every endpoint as all processes see it."""
    await api.node.fleet.refresh_models()
    return EndpointList(data=[_endpoint(api, state) for state in await endpoint_states(api.node)])


@router.get("/{name}/history", summary="An endpoint's last hour", responses=errors(404))
async def endpoint_history(name: str, api: Api) -> EndpointHistory:
    """Return samples of an endpoint's last hour, oldest first."""
    if name not in api.node.fleet.endpoints:
        raise NotFound("endpoint", name)
    return EndpointHistory(data=await history_of(api.node.redis, name))


@router.post("", summary="Add an endpoint", status_code=201, responses=errors(400))
async def add_endpoint(body: EndpointSettings, api: Api) -> EndpointObject:
    """Add an endpoint to the fleet; jobs and chats use it within two seconds, whichever process they are in."""
    settings = body.model_dump(exclude_unset=True)
    endpoint = await _checked(_changes(api).add(settings))
    return await _one(api, endpoint.name)


@router.patch("/{name}", summary="Change an endpoint, or drain it", responses=errors(400, 404))
async def change_endpoint(name: str, body: EndpointPatch, api: Api) -> EndpointObject:
    """Change settings of an endpoint. With `"draining": true` it gets nothing more, and what is in flight may end."""
    settings = body.model_dump(exclude_unset=True, exclude={"draining"})
    changes = _changes(api)
    if not body.model_fields_set:
        raise InvalidRequest("give settings to change, or draining", "draining", "missing_required_parameter")
    if settings:
        await _checked(changes.change(name, settings))
    if body.draining is not None:
        await (changes.drain(name) if body.draining else changes.use_again(name))
    return await _one(api, name)


@router.delete("/{name}", summary="Remove an endpoint", status_code=204, responses=errors(404))
async def remove_endpoint(name: str, api: Api, drain: bool = False) -> Response:
    """Use an endpoint no more: at once (requests in flight end as they do), or with `drain` when nothing is in flight there."""
    changes = _changes(api)
    await (changes.drain(name, leaves=True) if drain else changes.remove(name))
    await api.node.follower.look()
    return Response(status_code=204)


def _changes(api: ApiContext) -> FleetChanges:
    return FleetChanges(api.node.redis, api.node.configuration.endpoints)


async def _checked(change: Awaitable[T]) -> T:
    try:
        return await change
    except ConfigurationError as exc:
        raise InvalidRequest(f"{exc.path}: {exc.reason}" if exc.path else exc.reason, exc.path or None) from exc


async def _one(api: ApiContext, name: str) -> EndpointObject:
    """Return an endpoint as this process sees it after a change."""
    await api.node.follower.look()
    states = {state.name: state for state in await endpoint_states(api.node)}
    if name not in states:
        raise NotFound("endpoint", name)
    return _endpoint(api, states[name])


def _endpoint(api: ApiContext, state: EndpointState) -> EndpointObject:
    endpoint, seen = api.node.fleet.endpoints[state.name], state.health
    served = api.node.fleet.catalog.models()
    return EndpointObject(
        name=endpoint.name,
        url=endpoint.address,
        provider=endpoint.provider,
        models=sorted(model for model, names in served.items() if endpoint.name in names),
        weight=endpoint.weight,
        priority=endpoint.priority,
        circuit=seen.circuit,
        usable=seen.usable,
        draining=state.draining,
        in_flight=state.in_flight,
        max_concurrency=state.limit.value,
        limited_by=state.limit.limited_by,
        open_lines=state.open_lines,
        queued=state.queued,
        latency=seen.latency,
        ok=seen.completed,
        failed=seen.failed,
        last_error=seen.last_error or None,
    )
