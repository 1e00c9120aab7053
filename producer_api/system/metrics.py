"""`/metrics`: metrics of all processes in Prometheus' text format, read from Redis at each scrape."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from balancer.state.health import Circuit
from balancer.usage.tally import Tally
from jobs.monitoring.overview import EndpointState, endpoint_states, jobs_by_status, serving_workers
from jobs.node import Node
from jobs.records import Job
from producer_api.context import Api
from producer_api.http.openapi import errors
from producer_api.system.usage_metrics import usage_metrics, used_on

__all__ = ["Snapshot", "router", "snapshot", "text_of"]

router = APIRouter(tags=["system"], responses=errors(401, 403, 500, 503))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a scrape tells. Only open jobs have series of their own, so that their number stays small."""

    jobs_by_status: dict[str, int]
    open_jobs: list[Job]
    endpoints: list[EndpointState]
    workers: int
    used: dict[str, Tally]


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics(api: Api) -> Response:
    """Return all metrics."""
    return Response(text_of(await snapshot(api.node)), headers={"content-type": CONTENT_TYPE_LATEST})


async def snapshot(node: Node) -> Snapshot:
    """Read the state of jobs, endpoints and workers."""
    return Snapshot(
        jobs_by_status=await jobs_by_status(node),
        open_jobs=await node.service.jobs.unfinished(),
        endpoints=await endpoint_states(node),
        workers=len(await serving_workers(node)),
        used=await used_on(node.redis, datetime.now(UTC).date()),
    )


def text_of(found: Snapshot) -> bytes:
    """Write a snapshot in the text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshots(found))
    return generate_latest(registry)


class _Snapshots(Collector):
    def __init__(self, found: Snapshot) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        yield from _job_metrics(self._found)
        yield from _endpoint_metrics(self._found)
        yield from usage_metrics(self._found.used)
        yield GaugeMetricFamily("roadbalancer_workers", "Worker processes that live.", value=self._found.workers)


def _job_metrics(found: Snapshot) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("roadbalancer_jobs", "Jobs by status.", labels=["status"])
    for status, count in sorted(found.jobs_by_status.items()):
        jobs.add_metric([status], count)
    yield jobs
    lines = GaugeMetricFamily("roadbalancer_job_lines", "Lines of the jobs that have not ended.", labels=["job", "state"])
    for job in found.open_jobs:
        ledger = job.ledger
        counts = {"completed": ledger.completed, "failed": ledger.failed, "open": ledger.total - ledger.done}
        for state, count in counts.items():
            lines.add_metric([job.id, state], count)
    yield lines


def _endpoint_metrics(found: Snapshot) -> Iterator[Metric]:
    def gauge(name: str, text: str, values: dict[str, float | None]) -> Metric:
        family = GaugeMetricFamily(f"roadbalancer_endpoint_{name}", text, labels=["endpoint"])
        for endpoint, value in values.items():
            if value is not None:
                family.add_metric([endpoint], value)
        return family

    states = found.endpoints
    yield gauge("in_flight", "Requests in flight, all processes together.", {s.name: s.in_flight for s in states})
    yield gauge("max_concurrency", "Requests that may be in flight.", {s.name: s.limit.value for s in states})
    yield gauge("queued_shards", "Shards that wait in the endpoint's queue.", {s.name: s.queued for s in states})
    yield gauge("open_lines", "Lines given to the endpoint that are not finished.", {s.name: s.open_lines for s in states})
    yield gauge("latency_seconds", "Moving average of the time that an answer takes.", {s.name: s.health.latency for s in states})
    yield _limits(states)
    yield _circuits(states)
    yield _requests(states)


def _limits(states: list[EndpointState]) -> Metric:
    text = "1 for what has set the requests that may be in flight."
    family = GaugeMetricFamily("roadbalancer_endpoint_limited_by", text, labels=["endpoint", "by"])
    for state in states:
        family.add_metric([state.name, state.limit.limited_by or "configuration"], 1)
    return family


def _circuits(states: list[EndpointState]) -> Metric:
    family = GaugeMetricFamily(
        "roadbalancer_endpoint_circuit", "1 for the state the circuit is in.", labels=["endpoint", "state"]
    )
    for state in states:
        for circuit in Circuit:
            family.add_metric([state.name, circuit.value], float(state.health.circuit is circuit))
    return family


def _requests(states: list[EndpointState]) -> Metric:
    family = CounterMetricFamily("roadbalancer_endpoint_requests", "Requests by outcome.", labels=["endpoint", "outcome"])
    for state in states:
        family.add_metric([state.name, "ok"], state.health.completed)
        family.add_metric([state.name, "failed"], state.health.failed)
    return family
