"""What users import: the load balancer (everything of `balancer`) and the command line beside it."""

from balancer import (
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
]
