"""What a request costs."""

from balancer.endpoint import Endpoint
from balancer.outcome import Usage

__all__ = ["cost_of"]


def cost_of(usage: Usage, endpoint: Endpoint, model: str) -> float | None:
    """Return the cost of one request to `endpoint` for `model` (the upstream name) in USD, None where the price is not known."""
    price = endpoint.price
    if price is None:
        return None
    return (usage.prompt * price.input + usage.completion * price.output) / 1e6
