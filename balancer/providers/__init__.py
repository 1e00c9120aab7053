"""Wire formats: one adapter each, all with the same small interface."""

from balancer.providers.base import Adapter, Answer, Call
from balancer.providers.openai import OpenAIAdapter

__all__ = ["PROVIDERS", "Adapter", "Answer", "Call", "adapter_for"]

_ADAPTERS: dict[str, type[Adapter]] = {"openai": OpenAIAdapter, "vllm": OpenAIAdapter}

PROVIDERS = tuple(_ADAPTERS)
"""Wire formats that an endpoint may name."""


def adapter_for(provider: str) -> Adapter:
    """Return the adapter of a wire format. Raises KeyError for one that nobody registered."""
    return _ADAPTERS[provider]()
