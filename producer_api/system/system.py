"""Routes about the server, the workers and the fleet."""

import time

from fastapi import APIRouter
from pydantic import BaseModel

from jobs.monitoring.overview import endpoint_states, jobs_by_status, serving_workers
from producer_api.context import Api, ApiContext
from producer_api.http.errors import UNAVAILABLE, ApiError, Problem
from producer_api.http.openapi import errors
from producer_api.system.machine import MachineObject, ProcessObject, machine_now, process_now, versions
from producer_api.system.readiness import reasons_against

__all__ = ["health_router", "router"]

health_router = APIRouter(tags=["system"])
router = APIRouter(tags=["system"], responses=errors(401, 403, 500, 503))


class Liveness(BaseModel):
    """The server answers."""

    status: str = "ok"


class Readiness(BaseModel):
    """The server can take requests."""

    status: str = "ready"


class WorkerObject(BaseModel):
    """A worker process and the endpoints it works for."""

    process: str
    endpoints: list[str]


class RedisObject(BaseModel):
    """The Redis (or Valkey) behind it all. Memory is in bytes."""

    server: str
    version: str
    used_memory: int
    max_memory: int | None


class SystemInfo(BaseModel):
    """This server and what it works with. `uptime` is in seconds; `queues` has the shards that wait for each endpoint."""

    version: str
    versions: dict[str, str]
    uptime: float
    machine: MachineObject
    process: ProcessObject
    strategy: str
    redis: RedisObject
    workers: list[WorkerObject]
    queues: dict[str, int]
    endpoints: int
    jobs: dict[str, int]


@health_router.get("/health", summary="Whether the server lives")
async def health() -> Liveness:
    """Say that the server answers; needs no key and does no I/O."""
    return Liveness()


@health_router.get("/health/ready", summary="Whether requests may come here now", responses=errors(503))
async def ready(api: Api) -> Readiness:
    """Say that Redis answers and some endpoint is healthy, or refuse with the reasons; needs no key."""
    if reasons := await reasons_against(api):
        raise ApiError(Problem(503, "; ".join(reasons), UNAVAILABLE, code="not_ready"))
    return Readiness()


@router.get("/system/info", summary="Versions, workers, and jobs by status")
async def system_info(api: Api) -> SystemInfo:
    """Return what an operator asks first."""
    workers = await serving_workers(api.node)
    return SystemInfo(
        version=versions()["roadbalancer"],
        versions=versions(),
        machine=machine_now(),
        process=process_now(),
        queues={state.name: state.queued for state in await endpoint_states(api.node)},
        uptime=round(time.time() - api.started_at, 3),
        strategy=api.node.configuration.strategy,
        redis=await _redis(api),
        workers=[WorkerObject(process=name, endpoints=names) for name, names in sorted(workers.items())],
        endpoints=len(api.node.fleet.endpoints),
        jobs=await jobs_by_status(api.node),
    )


async def _redis(api: ApiContext) -> RedisObject:
    info = await api.node.redis.info()
    server = str(info.get("server_name", "redis"))
    return RedisObject(
        server=server,
        version=str(info.get(f"{server}_version", info["redis_version"])),
        used_memory=int(info["used_memory"]),
        max_memory=int(info.get("maxmemory", 0)) or None,
    )
