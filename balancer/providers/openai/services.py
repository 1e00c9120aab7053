"""Services that are compatible with OpenAI's format with exceptions: their addresses, and the fields that they refuse or rename.

Sources: console.groq.com/docs/openai ("Currently unsupported OpenAI features"), docs.mistral.ai/api, api-docs.deepseek.com,
docs.together.ai ("OpenAI compatibility"), openrouter.ai/docs ("Prompt caching").
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from balancer.providers.batches import BatchApi
from balancer.providers.openai.batches import MistralBatches, OpenAIBatches

__all__ = ["SERVICES", "Service"]


@dataclass(frozen=True, slots=True)
class Service:
    """One service, called by its provider's name. `refused` are fields of a chat that it answers with an error, `renamed` its own
    names of fields. `strict`: it refuses fields of messages that it does not know; `has_names`: a message may have a `name`.
    `batches` makes its batch API, where it has one."""

    name: str
    url: str
    refused: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    strict: bool = False
    has_names: bool = True
    batches: Callable[[], BatchApi] | None = None


_OLDER_LIMIT = {"max_completion_tokens": "max_tokens"}
_PROBABILITIES = frozenset({"logprobs", "top_logprobs", "logit_bias"})
_ANTHROPICS = frozenset({"thinking", "cache_control"})
SERVICES: Mapping[str, Service] = {
    service.name: service
    for service in (
        Service("deepseek", "https://api.deepseek.com/v1", renamed=_OLDER_LIMIT),
        Service(
            "groq",
            "https://api.groq.com/openai/v1",
            _PROBABILITIES | _ANTHROPICS,
            strict=True,
            has_names=False,
            batches=OpenAIBatches,
        ),
        Service(
            "mistral",
            "https://api.mistral.ai/v1",
            _PROBABILITIES | _ANTHROPICS | {"service_tier", "user", "store"},
            {**_OLDER_LIMIT, "seed": "random_seed"},
            strict=True,
            batches=MistralBatches,
        ),
        Service("openrouter", "https://openrouter.ai/api/v1"),
        Service("together", "https://api.together.xyz/v1", renamed=_OLDER_LIMIT, batches=OpenAIBatches),
    )
}
