"""The wire formats by name: those that come with the package, and whatever else has been registered."""

from importlib import import_module

from balancer.providers.base import Adapter

__all__ = ["adapter_for", "provider_names", "register"]

_BUILT_IN = {
    "openai": "balancer.providers.openai:OpenAIAdapter",
    "vllm": "balancer.providers.vllm:VLLMAdapter",
    "anthropic": "balancer.providers.anthropic:AnthropicAdapter",
    "gemini": "balancer.providers.gemini:GeminiAdapter",
    "laas": "balancer.providers.laas:LaaSAdapter",
}
"""Imported when they are first asked for."""
_adapters: dict[str, Adapter] = {}


def register(name: str, adapter: Adapter) -> None:
    """Make a wire format known under `name`, in place of another one of that name."""
    _adapters[name] = adapter


def provider_names() -> tuple[str, ...]:
    """Return the names that an endpoint's `provider` may have."""
    return tuple(dict.fromkeys((*_BUILT_IN, *_adapters)))


def adapter_for(name: str) -> Adapter:
    """Return the adapter of a wire format. Raises KeyError for one that nobody registered."""
    if name not in _adapters:
        module, _, attribute = _BUILT_IN[name].partition(":")
        register(name, getattr(import_module(module), attribute)())
    return _adapters[name]
