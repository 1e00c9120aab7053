"""What a request costs."""

from balancer.endpoint import Price
from balancer.outcome import Usage

__all__ = ["cost_of"]


def cost_of(usage: Usage, price: Price | None) -> float | None:
    """Return the cost of one request in USD, None where the price is not known."""
    if price is None:
        return None
    return (usage.prompt * price.input + usage.completion * price.output) / 1e6
