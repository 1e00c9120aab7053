"""Who gets the next request: endpoints, strategies, health, slots, budgets, and the load balancer over them.

The names are imported when they are used: the load balancer takes a quarter of a second, and not each program that imports a
module of this package needs it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "AsyncLoadBalancer": "client.load_balancer",
    "Attempt": "results",
    "BalancerClosed": "errors",
    "BalancerError": "errors",
    "BalancingStrategy": "routing",
    "ChatChunk": "results",
    "ChatFailed": "results",
    "ChatResult": "results",
    "ConfigurationError": "errors",
    "Endpoint": "endpoint",
    "LoadBalancer": "client.sync_load_balancer",
    "Price": "endpoint",
    "SharedStateUnavailable": "errors",
    "Usage": "outcome",
    "UsedAfterFork": "errors",
    "create_client": "client.clients",
    "get_available_clients": "client.clients",
    "get_client": "client.clients",
    "get_client_with_fallback": "client.clients",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
