"""Fields of a request that say where it goes, with which key or in which class: they are the operator's to choose.

What is sent through passes them on to the endpoint, and gateways behind it (LiteLLM's proxy, OpenRouter) obey them. A key with
models or limits of its own could leave these behind with them, so that they are taken out of its requests.
"""

from collections.abc import MutableMapping
from typing import Any

__all__ = ["DESTINATION_FIELDS", "drop_destination"]

DESTINATION_FIELDS = frozenset(
    {
        "api_base", "api_key", "api_type", "api_version", "azure_endpoint", "base_url", "organization", "project",
        "custom_llm_provider", "deployment_id", "provider", "providers", "route", "plugins",
        "fallbacks", "context_window_fallbacks", "content_policy_fallbacks", "model_list", "litellm_params",
        "extra_body", "extra_headers", "extra_query", "headers", "service_tier",
    }
)  # fmt: skip


def drop_destination(body: MutableMapping[str, Any]) -> None:
    """Take the fields that choose destination, key or class of processing out of a request, in place."""
    for name in DESTINATION_FIELDS & body.keys():
        del body[name]
