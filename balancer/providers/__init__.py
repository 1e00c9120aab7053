"""Wire formats: one adapter each, all with the same small interface."""

from balancer.providers.base import Adapter, Answer, Call, Check, EngineLoad, RequestRefused, StreamFault, Translation
from balancer.providers.registry import (
    ProviderFacts,
    adapter_for,
    facts_of,
    guess_provider,
    problem_with,
    provider_names,
    register,
)

__all__ = [
    "Adapter",
    "Answer",
    "Call",
    "Check",
    "EngineLoad",
    "ProviderFacts",
    "RequestRefused",
    "StreamFault",
    "Translation",
    "adapter_for",
    "facts_of",
    "guess_provider",
    "problem_with",
    "provider_names",
    "register",
]
