"""Wire formats: one adapter each, all with the same small interface."""

from balancer.providers.base import Adapter, Answer, Call
from balancer.providers.openai import OpenAIAdapter

__all__ = ["Adapter", "Answer", "Call", "adapter_for"]

_ADAPTERS: dict[str, type[Adapter]] = {"openai": OpenAIAdapter, "vllm": OpenAIAdapter}


def adapter_for(provider: str) -> Adapter:
    """Return the adapter of a wire format. Raises KeyError for one that nobody registered."""
    return _ADAPTERS[provider]()
