"""Azure OpenAI: OpenAI's format below the path of a deployment."""

from collections.abc import Mapping
from typing import Any

import orjson

from balancer.endpoint import Endpoint
from tests.fake_providers.base import KEY, ReceivedRequest, Refused, Reply
from tests.fake_providers.fake_openai import OpenAIFakeProvider

__all__ = ["FAKE", "AzureFakeProvider"]

PATH = "/openai/deployments/{}/chat/completions?api-version=2024-10-21"


class AzureFakeProvider(OpenAIFakeProvider):
    """The deployment stands in the path, the key in a header of its own."""

    provider = "azure"

    def endpoint(self, address: str, **settings: Any) -> Endpoint:
        return Endpoint(address, provider=self.provider, api_key=KEY, **settings)

    def read_request(self, path: str, headers: Mapping[str, str], body: bytes) -> ReceivedRequest:
        if path != PATH.format(orjson.loads(body)["model"]):
            raise Refused(f"Resource not found: {path}")
        if headers.get("api-key") != KEY or "authorization" in headers:
            raise Refused("Access denied due to invalid subscription key")
        return super().read_request("/v1/chat/completions", {**headers, "authorization": f"Bearer {KEY}"}, body)

    def get(self, path: str) -> Reply:
        listing = {"object": "list", "data": [{"id": "gpt-a-base-model", "object": "model"}]}
        return Reply(200, orjson.dumps(listing)) if path == "/openai/models?api-version=2024-10-21" else Reply(404, b"{}")


FAKE = AzureFakeProvider()
