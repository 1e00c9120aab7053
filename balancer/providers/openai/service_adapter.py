"""OpenAI's wire format as one of the services in `services` takes it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from balancer.endpoint import Endpoint
from balancer.providers.base import Call, RequestRefused
from balancer.providers.batches import BatchApi
from balancer.providers.kinds import CHAT_PATH
from balancer.providers.openai.adapter import OpenAIAdapter
from balancer.providers.openai.plain_messages import plain_messages
from balancer.providers.openai.services import SERVICES, Service
from balancer.providers.shapes import without_fields

__all__ = ["ServiceAdapter", "deepseek", "groq", "mistral", "openrouter", "together"]


class ServiceAdapter(OpenAIAdapter):
    """Refuses, renames and omits fields as the table of services says; otherwise as OpenAI's."""

    is_shared = False

    def __init__(self, service: Service) -> None:
        self._service = service

    def call(self, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> Call:
        return super().call(endpoint, path, self._fitted(endpoint, body) if path == CHAT_PATH else body)

    def batches(self, endpoint: Endpoint) -> BatchApi | None:
        batches = self._service.batches
        return None if batches is None else batches()

    def _fitted(self, endpoint: Endpoint, body: Mapping[str, Any]) -> Mapping[str, Any]:
        service, name = self._service, self._service.name.capitalize()
        fitted = without_fields(body, service.refused, endpoint, name)
        for ours, theirs in service.renamed.items():
            if (value := fitted.pop(ours, None)) is not None:
                fitted[theirs] = value
        if service.strict:
            fitted["messages"] = plain_messages(fitted.get("messages"))
        if not service.has_names:
            _refuse_names(fitted.get("messages"), name)
        return fitted


def _refuse_names(messages: Any, service: str) -> None:
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        if isinstance(message, dict) and message.get("name") is not None:
            raise RequestRefused(f"messages[{index}].name", f"{service} does not support `name` in messages")


deepseek, groq, mistral, openrouter, together = (partial(ServiceAdapter, SERVICES[name]) for name in sorted(SERVICES))
