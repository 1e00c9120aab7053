"""vLLM's OpenAI server."""

from balancer.providers.openai import OpenAIAdapter

__all__ = ["VLLMAdapter"]


class VLLMAdapter(OpenAIAdapter):
    """OpenAI's wire format, with vLLM's own routes beside it."""
