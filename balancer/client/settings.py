"""The validated settings of a load balancer."""

from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from balancer.configuration.validation import check_numbers, checked_endpoints, checked_strategy
from balancer.configuration.values import CacheSettings
from balancer.endpoint import Endpoint
from balancer.http import REQUEST_TIMEOUT
from balancer.routing import BalancingStrategy
from balancer.routing.model_routes import NO_ROUTES, ModelRoutes

__all__ = ["BalancerSettings"]


@dataclass(frozen=True)
class BalancerSettings:
    """What a load balancer is made of; see AsyncLoadBalancer. Raises ConfigurationError (a ValueError) for what can't be used."""

    endpoints: Sequence[Endpoint]
    strategy: BalancingStrategy | str = BalancingStrategy.WEIGHTED
    enable_health_check: bool = True
    health_check_interval: float = 30.0
    timeout: float = REQUEST_TIMEOUT
    retry_count: int = 2
    fallback_on_failure: bool = True
    redis_url: str | None = None
    transport: httpx.AsyncBaseTransport | None = None
    routes: ModelRoutes = NO_ROUTES
    cache: CacheSettings | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "endpoints", checked_endpoints(self.endpoints))
        object.__setattr__(self, "strategy", checked_strategy(self.strategy))
        check_numbers(self.timeout, self.retry_count, self.health_check_interval)
