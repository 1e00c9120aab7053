"""What users import: the load balancer (everything of `balancer`) and the command line beside it."""

from api_roadbalancer.name_clash import refuse_shadowed_packages

refuse_shadowed_packages()

from balancer import (  # noqa: E402  (after the check, so that a clash is named)
    AsyncLoadBalancer,
    Attempt,
    BalancerClosed,
    BalancerError,
    BalancingStrategy,
    ChatChunk,
    ChatFailed,
    ChatResult,
    ConfigurationError,
    Endpoint,
    LoadBalancer,
    Price,
    SharedStateUnavailable,
    Usage,
    UsedAfterFork,
    create_client,
    get_available_clients,
    get_client,
    get_client_with_fallback,
)

__all__ = [
    "AsyncLoadBalancer",
    "Attempt",
    "BalancerClosed",
    "BalancerError",
    "BalancingStrategy",
    "ChatChunk",
    "ChatFailed",
    "ChatResult",
    "ConfigurationError",
    "Endpoint",
    "LoadBalancer",
    "Price",
    "SharedStateUnavailable",
    "Usage",
    "UsedAfterFork",
    "create_client",
    "get_available_clients",
    "get_client",
    "get_client_with_fallback",
]
