"""Azure OpenAI: OpenAI's wire format below the path of a deployment (learn.microsoft.com/azure/ai-services/openai/reference).

A model's name at the endpoint is that of its deployment: `models: {gpt-5.4: my-deployment}`. The endpoint's option `version` is
`api-version`. Endpoints whose address ends in `/openai/v1` speak OpenAI's format as it is; there the adapter only sets the key.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from balancer.endpoint import Endpoint
from balancer.providers.base import Answer, Call, Check, RequestRefused, Translation
from balancer.providers.batches import BatchApi
from balancer.providers.kinds import CHAT_PATH
from balancer.providers.openai.adapter import OpenAIAdapter
from balancer.providers.openai.batches import AzureBatches

__all__ = ["VERSION", "AzureAdapter"]

VERSION = "2024-10-21"
"""The `api-version` that is asked for where the endpoint does not say."""
_OWN_PATH = "path"


class AzureAdapter(OpenAIAdapter):
    """Azure's deployments of OpenAI's models."""

    paths = (CHAT_PATH, "/completions", "/embeddings")
    is_shared = False
    check = Check(f"/openai/models?api-version={VERSION}", at_root=True)
    lists_models = False
    has_thinking = False

    def headers(self, endpoint: Endpoint) -> dict[str, str]:
        return {"content-type": "application/json", **({"api-key": endpoint.api_key} if endpoint.api_key else {})}

    def call(self, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> Call:
        call = super().call(endpoint, path, body)
        if endpoint.url.endswith("/openai/v1"):
            return call
        if not call.model:
            raise RequestRefused("model", "must name a deployment, or the endpoint must have `models`")
        where = f"/openai/deployments/{quote(call.model, safe='')}{path}?api-version={_version_of(endpoint)}"
        return replace(call, path=where, notes={_OWN_PATH: path})

    def answer(self, call: Call, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        return super().answer(_as_openai(call), status, headers, body)

    def translation(self, call: Call) -> Translation:
        return super().translation(_as_openai(call))

    def batches(self, endpoint: Endpoint) -> BatchApi | None:
        return AzureBatches("" if endpoint.url.endswith("/openai/v1") else _version_of(endpoint))

    def models(self, body: bytes) -> list[str]:
        """None: Azure lists the models that could be deployed."""
        return []


def _version_of(endpoint: Endpoint) -> str:
    return quote(endpoint.options.get("version") or VERSION, safe="")


def _as_openai(call: Call) -> Call:
    return replace(call, path=call.notes[_OWN_PATH]) if _OWN_PATH in call.notes else call
