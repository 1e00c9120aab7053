"""Clients under the names of their providers, as programs of one provider know them: thin classes over the load balancer."""

from balancer.client.named.errors import APIConnectionError, LLMError, LLMServiceUnavailableError, RateLimitError
from balancer.client.named.llm_client import (
    ClaudeClient,
    GeminiClient,
    LaasClient,
    LLMChunk,
    LLMClient,
    LLMResponse,
    OpenAIClient,
)
from balancer.client.named.registry import LLMRegistry, get_llm_client, registry
from balancer.client.named.usage_tracker import LLMUsageTracker

__all__ = [
    "APIConnectionError",
    "ClaudeClient",
    "GeminiClient",
    "LLMChunk",
    "LLMClient",
    "LLMError",
    "LLMRegistry",
    "LLMResponse",
    "LLMServiceUnavailableError",
    "LLMUsageTracker",
    "LaasClient",
    "OpenAIClient",
    "RateLimitError",
    "get_llm_client",
    "registry",
]
