"""What users import: the load balancer (everything of `balancer`), bulk calls, and the command line beside them."""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from api_roadbalancer.bulk.answers import Answers
    from api_roadbalancer.bulk.call import run
    from api_roadbalancer.bulk.gathering import AsyncOpenAI, RequestFailed
    from api_roadbalancer.bulk.gathering import map_texts as map  # noqa: F401
    from api_roadbalancer.client import AsyncClient, ServerError
    from jobs.errors import CapReached, InvalidRequest

__all__ = [
    "Answers",
    "AsyncClient",
    "AsyncLoadBalancer",
    "AsyncOpenAI",
    "Attempt",
    "BalancerClosed",
    "BalancerError",
    "BalancingStrategy",
    "CapReached",
    "ChatChunk",
    "ChatFailed",
    "ChatResult",
    "ConfigurationError",
    "Endpoint",
    "InvalidRequest",
    "LoadBalancer",
    "Price",
    "RequestFailed",
    "ServerError",
    "SharedStateUnavailable",
    "Usage",
    "UsedAfterFork",
    "create_client",
    "get_available_clients",
    "get_client",
    "get_client_with_fallback",
    "run",
]

_LOADED_WHEN_USED = {
    "Answers": "api_roadbalancer.bulk.answers",
    "AsyncClient": "api_roadbalancer.client",
    "AsyncOpenAI": "api_roadbalancer.bulk.gathering",
    "RequestFailed": "api_roadbalancer.bulk.gathering",
    "ServerError": "api_roadbalancer.client",
    "map": "api_roadbalancer.bulk.gathering",
    "CapReached": "jobs.errors",
    "InvalidRequest": "jobs.errors",
    "run": "api_roadbalancer.bulk.call",
}
"""The load balancer alone needs none of their modules, which take half a second."""
_CALLED_THERE = {"map": "map_texts"}
"""`map` is not in `__all__`, so that `import *` leaves Python's own in place."""


def __getattr__(name: str) -> Any:
    if name not in _LOADED_WHEN_USED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(_LOADED_WHEN_USED[name]), _CALLED_THERE.get(name, name))
    except ModuleNotFoundError as exc:
        message = f"roadbalancer.{name} needs {exc.name}: pip install 'roadbalancer[server]'"
        raise ImportError(message, name=exc.name) from exc
