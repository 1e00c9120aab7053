"""What users import: the load balancer (everything of `balancer`), bulk calls, and the command line beside them."""

from typing import TYPE_CHECKING, Any

from api_roadbalancer.name_clash import refuse_shadowed_packages

refuse_shadowed_packages()

if TYPE_CHECKING:
    from api_roadbalancer.bulk.answers import Answers
    from api_roadbalancer.bulk.call import run
    from api_roadbalancer.bulk.gathering import AsyncOpenAI, RequestFailed
    from api_roadbalancer.bulk.gathering import map_texts as map  # noqa: F401
    from api_roadbalancer.client import AsyncClient, ServerError
    from balancer import (
        APIConnectionError,
        AsyncLoadBalancer,
        Attempt,
        BalancerClosed,
        BalancerError,
        BalancingStrategy,
        ChatChunk,
        ChatConfigurationError,
        ChatFailed,
        ChatRequest,
        ChatResponse,
        ChatResult,
        ChatService,
        ChatServiceError,
        ChatUpstreamError,
        ChatValidationError,
        ClaudeClient,
        ConfigurationError,
        Endpoint,
        GeminiClient,
        LLMChunk,
        LLMClient,
        LLMError,
        LLMRegistry,
        LLMResponse,
        LLMServiceUnavailableError,
        LLMUsageTracker,
        LoadBalancer,
        OpenAIClient,
        Price,
        RateLimitError,
        SharedStateUnavailable,
        Usage,
        UsedAfterFork,
        create_client,
        get_available_clients,
        get_client,
        get_client_with_fallback,
        get_llm_client,
        registry,
    )
    from jobs.errors import CapReached, InvalidRequest

__all__ = [
    "APIConnectionError",
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
    "ChatConfigurationError",
    "ChatFailed",
    "ChatRequest",
    "ChatResponse",
    "ChatResult",
    "ChatService",
    "ChatServiceError",
    "ChatUpstreamError",
    "ChatValidationError",
    "ClaudeClient",
    "ConfigurationError",
    "Endpoint",
    "GeminiClient",
    "InvalidRequest",
    "LLMChunk",
    "LLMClient",
    "LLMError",
    "LLMRegistry",
    "LLMResponse",
    "LLMServiceUnavailableError",
    "LLMUsageTracker",
    "LoadBalancer",
    "OpenAIClient",
    "Price",
    "RateLimitError",
    "RequestFailed",
    "ServerError",
    "SharedStateUnavailable",
    "Usage",
    "UsedAfterFork",
    "create_client",
    "get_available_clients",
    "get_client",
    "get_client_with_fallback",
    "get_llm_client",
    "registry",
    "run",
]

_MODULES = {
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
"""The others are those of `balancer`. All are imported when they are used: the load balancer alone needs none of these, which
take half a second."""
_CALLED_THERE = {"map": "map_texts"}
"""`map` is not in `__all__`, so that `import *` leaves Python's own in place."""


def __getattr__(name: str) -> Any:
    if name != "map" and name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(_MODULES.get(name, "balancer")), _CALLED_THERE.get(name, name))
    except ModuleNotFoundError as exc:
        message = f"roadbalancer.{name} needs {exc.name}: pip install 'roadbalancer[server]'"
        raise ImportError(message, name=exc.name) from exc
