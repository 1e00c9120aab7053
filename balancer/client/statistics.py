"""Statistics of one load balancer: requests, successes and failures by endpoint."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from balancer.endpoint import Endpoint
from balancer.outcome import NO_USAGE, Outcome
from balancer.routing import BalancingStrategy
from balancer.usage.rates import NANO

if TYPE_CHECKING:
    from balancer.fleet.fleet import Fleet

__all__ = ["Statistics"]


@dataclass(slots=True)
class _Counts:
    requests: int = 0
    failures: int = 0
    seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    nano_cost: int = 0
    unpriced: int = 0

    def add(self, outcome: Outcome) -> None:
        self.requests += 1
        self.seconds += outcome.latency
        self.failures += outcome.failure is not None
        self.input_tokens += outcome.usage.prompt
        self.output_tokens += outcome.usage.completion
        if outcome.failure is not None and outcome.usage == NO_USAGE:
            return
        if outcome.cost is None:
            self.unpriced += 1
        else:
            self.nano_cost += round(outcome.cost * NANO)

    @property
    def usage(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost": self.nano_cost / NANO,
            "requests_of_unknown_cost": self.unpriced,
        }


class Statistics:
    """Counts attempts. Every attempt is a request: one that fails over to another endpoint counts as two."""

    def __init__(self, strategy: BalancingStrategy) -> None:
        self._strategy = strategy
        self._by_endpoint: dict[str, _Counts] = {}

    def record(self, outcome: Outcome) -> None:
        """Count what came of one attempt."""
        self._by_endpoint.setdefault(outcome.endpoint, _Counts()).add(outcome)

    def usage(self) -> dict[str, Any]:
        """Return what has been used: `requests`, `input_tokens`, `output_tokens`, `cost` (USD), `requests_of_unknown_cost`, and
        the same by endpoint."""
        by_endpoint = {name: counts.usage for name, counts in self._by_endpoint.items()}
        nano_cost = sum(counts.nano_cost for counts in self._by_endpoint.values())
        names = ("requests", "input_tokens", "output_tokens", "requests_of_unknown_cost")
        sums = {name: sum(used[name] for used in by_endpoint.values()) for name in names}
        return {**sums, "cost": nano_cost / NANO, "endpoints": by_endpoint}

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
            **{name: value for name, value in self.usage().items() if name not in ("requests", "endpoints")},
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
            **{name: value for name, value in counts.usage.items() if name != "requests"},
            "average_latency": counts.seconds / counts.requests if counts.requests else None,
            "last_error": health.last_error if health else "",
        }


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}%" if whole else "0.00%"
