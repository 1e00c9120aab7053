"""Who gets the next request: endpoints, strategies, health, slots, budgets, and the load balancer over them.

The names are imported when they are used: the load balancer takes a quarter of a second, and not each program that imports a
module of this package needs it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from balancer.client.chat_service import (
        ChatConfigurationError,
        ChatRequest,
        ChatResponse,
        ChatService,
        ChatServiceError,
        ChatUpstreamError,
        ChatValidationError,
    )
    from balancer.client.clients import create_client, get_available_clients, get_client, get_client_with_fallback
    from balancer.client.load_balancer import AsyncLoadBalancer
    from balancer.client.named import (
        APIConnectionError,
        ClaudeClient,
        GeminiClient,
        LLMChunk,
        LLMClient,
        LLMError,
        LLMRegistry,
        LLMResponse,
        LLMServiceUnavailableError,
        LLMUsageTracker,
        OpenAIClient,
        RateLimitError,
        get_llm_client,
        registry,
    )
    from balancer.client.sync_load_balancer import LoadBalancer
    from balancer.endpoint import Endpoint, Price
    from balancer.errors import BalancerClosed, BalancerError, ConfigurationError, SharedStateUnavailable, UsedAfterFork
    from balancer.outcome import Usage
    from balancer.results import Attempt, ChatChunk, ChatFailed, ChatResult
    from balancer.routing import BalancingStrategy

__all__ = [
    "APIConnectionError",
    "AsyncLoadBalancer",
    "Attempt",
    "BalancerClosed",
    "BalancerError",
    "BalancingStrategy",
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
    "SharedStateUnavailable",
    "Usage",
    "UsedAfterFork",
    "create_client",
    "get_available_clients",
    "get_client",
    "get_client_with_fallback",
    "get_llm_client",
    "registry",
]

_MODULES = {
    "APIConnectionError": "client.named",
    "AsyncLoadBalancer": "client.load_balancer",
    "Attempt": "results",
    "BalancerClosed": "errors",
    "BalancerError": "errors",
    "BalancingStrategy": "routing",
    "ChatChunk": "results",
    "ChatConfigurationError": "client.chat_service",
    "ChatFailed": "results",
    "ChatRequest": "client.chat_service",
    "ChatResponse": "client.chat_service",
    "ChatResult": "results",
    "ChatService": "client.chat_service",
    "ChatServiceError": "client.chat_service",
    "ChatUpstreamError": "client.chat_service",
    "ChatValidationError": "client.chat_service",
    "ClaudeClient": "client.named",
    "ConfigurationError": "errors",
    "Endpoint": "endpoint",
    "GeminiClient": "client.named",
    "LLMChunk": "client.named",
    "LLMClient": "client.named",
    "LLMError": "client.named",
    "LLMRegistry": "client.named",
    "LLMResponse": "client.named",
    "LLMServiceUnavailableError": "client.named",
    "LLMUsageTracker": "client.named",
    "LoadBalancer": "client.sync_load_balancer",
    "OpenAIClient": "client.named",
    "Price": "endpoint",
    "RateLimitError": "client.named",
    "SharedStateUnavailable": "errors",
    "Usage": "outcome",
    "UsedAfterFork": "errors",
    "create_client": "client.clients",
    "get_available_clients": "client.clients",
    "get_client": "client.clients",
    "get_client_with_fallback": "client.clients",
    "get_llm_client": "client.named",
    "registry": "client.named",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
