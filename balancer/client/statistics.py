"""Statistics of one load balancer: requests, successes and failures by endpoint."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from balancer.endpoint import Endpoint
from balancer.outcome import Outcome
from balancer.routing import BalancingStrategy

if TYPE_CHECKING:
    from balancer.fleet.fleet import Fleet

__all__ = ["Statistics"]


@dataclass(slots=True)
class _Counts:
    requests: int = 0
    failures: int = 0
    seconds: float = 0.0


class Statistics:
    """Counts attempts. Every attempt is a request: one that fails over to another endpoint counts as two."""

    def __init__(self, strategy: BalancingStrategy) -> None:
        self._strategy = strategy
        self._by_endpoint: dict[str, _Counts] = {}

    def record(self, outcome: Outcome) -> None:
        """Count what came of one attempt."""
        counts = self._by_endpoint.setdefault(outcome.endpoint, _Counts())
        counts.requests += 1
        counts.seconds += outcome.latency
        if outcome.failure is not None:
            counts.failures += 1

    def as_dict(self, endpoints: Iterable[Endpoint], fleet: "Fleet | None", suspects: Collection[str] = ()) -> dict[str, Any]:
        """Return the sums, and each endpoint's own. Latencies are seconds. `suspects` are not healthy, whatever else is known."""
        listed = [self._endpoint(endpoint, fleet, endpoint.name in suspects) for endpoint in endpoints]
        requests = sum(counts.requests for counts in self._by_endpoint.values())
        failures = sum(counts.failures for counts in self._by_endpoint.values())
        return {
            "strategy": str(self._strategy),
            "total_endpoints": len(listed),
            "healthy_endpoints": sum(entry["healthy"] for entry in listed),
            "total_requests": requests,
            "total_success": requests - failures,
            "total_failures": failures,
            "success_rate": _percent(requests - failures, requests),
            "endpoints": listed,
        }

    def _endpoint(self, endpoint: Endpoint, fleet: "Fleet | None", suspect: bool) -> dict[str, Any]:
        counts = self._by_endpoint.get(endpoint.name, _Counts())
        health = fleet.health[endpoint.name] if fleet else None
        return {
            "name": endpoint.name,
            "url": endpoint.url,
            "healthy": health.usable and not suspect if health else True,
            "circuit": str(health.circuit) if health else "closed",
            "weight": endpoint.weight,
            "in_flight": fleet.slots.load(endpoint.name) if fleet else 0,
            "requests": counts.requests,
            "success": counts.requests - counts.failures,
            "failures": counts.failures,
            "success_rate": _percent(counts.requests - counts.failures, counts.requests),
            "average_latency": counts.seconds / counts.requests if counts.requests else None,
            "last_error": health.last_error if health else "",
        }


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}%" if whole else "0.00%"
