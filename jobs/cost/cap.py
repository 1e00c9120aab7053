"""Validates the cap on a job's cost: an amount, and known prices for every endpoint that may answer."""

import math
from collections.abc import Iterable

from balancer.endpoint import Endpoint
from balancer.fleet.fleet import Fleet
from balancer.outcome import Usage
from balancer.usage.pricing import cost_of
from balancer.usage.rates import NANO
from jobs.cost.affordable import GUESSED_OUTPUT
from jobs.errors import InvalidRequest

__all__ = ["BYTES_OF_A_TOKEN", "MAX_CAP", "check_cap", "highest_cost", "highest_line_cost", "require_prices"]

MAX_CAP = 1_000_000.0
"""USD. Sums in Redis are exact far beyond it."""
MIN_CAP = 1e-6
SHOWN = 5
"""Endpoints without a price that a message names."""
BYTES_OF_A_TOKEN = 4
A_REQUEST = Usage(prompt=1, completion=1)


def check_cap(max_cost: float) -> None:
    """Refuse what can't be a cap. Raises InvalidRequest."""
    if not (math.isfinite(max_cost) and MIN_CAP <= max_cost <= MAX_CAP):
        message = f"max_cost must be an amount in USD from {MIN_CAP:.6f} to {MAX_CAP:,.0f} (got {max_cost:g})"
        raise InvalidRequest(message, "max_cost", "invalid_value")


def require_prices(fleet: Fleet, models: Iterable[str]) -> None:
    """Make sure that what answers lines for `models` ("" for lines without one) has a price: a line without one can't count
    against a cap. Raises InvalidRequest with the endpoints that have none."""
    unknown = [f"{endpoint.name} ({upstream or 'no model named'})" for endpoint, upstream in _may_answer(fleet, models)
               if cost_of(A_REQUEST, endpoint, upstream) is None]  # fmt: skip
    if not unknown:
        return
    more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
    raise InvalidRequest(
        f"max_cost needs the price of everything that may answer, and these have none: {', '.join(unknown[:SHOWN])}{more}; "
        "give the endpoint a `price` in the configuration, or leave max_cost out",
        "max_cost",
        "price_unknown",
    )


def highest_line_cost(fleet: Fleet, models: Iterable[str], line_bytes: float) -> float:
    """Return a guess at what a line of so many bytes costs (nanodollars) where it costs most, before any answer is known."""
    return highest_cost(fleet, models, Usage(prompt=math.ceil(line_bytes / BYTES_OF_A_TOKEN), completion=GUESSED_OUTPUT))


def highest_cost(fleet: Fleet, models: Iterable[str], usage: Usage) -> float:
    """Return what a request for one of `models` ("" for none) costs where it costs most, in nanodollars; 0 without a price."""
    costs = [cost_of(usage, endpoint, upstream) or 0.0 for endpoint, upstream in _may_answer(fleet, models)]
    return max(costs, default=0.0) * NANO


def _may_answer(fleet: Fleet, models: Iterable[str]) -> list[tuple[Endpoint, str]]:
    """Return each endpoint with each upstream name that lines for `models` may be sent there under."""
    catalog = fleet.catalog
    found = {
        (name, upstream): fleet.endpoints[name]
        for model in models
        for asked in (catalog.routes.all_behind(model) if model else (None,))
        for name in fleet.endpoints
        if catalog.serves(name, asked)
        for upstream in catalog.possible_upstreams(name, asked)
    }
    return [(endpoint, upstream) for (_, upstream), endpoint in found.items()]
