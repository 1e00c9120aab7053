"""Wire formats: one adapter each, all with the same small interface."""

from balancer.providers.base import Adapter, Answer, Call, Check, RequestRefused, StreamFault, Translation
from balancer.providers.registry import adapter_for, provider_names, register

__all__ = [
    "Adapter",
    "Answer",
    "Call",
    "Check",
    "RequestRefused",
    "StreamFault",
    "Translation",
    "adapter_for",
    "provider_names",
    "register",
]
