"""Who gets the next request: endpoints, strategies, health, slots, budgets, and the load balancer over them."""

from balancer.client.clients import create_client, get_available_clients, get_client, get_client_with_fallback
from balancer.client.load_balancer import AsyncLoadBalancer
from balancer.client.sync_load_balancer import LoadBalancer
from balancer.endpoint import Endpoint, Price
from balancer.errors import BalancerClosed, BalancerError, ConfigurationError, SharedStateUnavailable, UsedAfterFork
from balancer.outcome import Usage
from balancer.results import Attempt, ChatChunk, ChatFailed, ChatResult
from balancer.routing import BalancingStrategy

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
