"""Amazon Bedrock: the Converse API (docs.aws.amazon.com/bedrock/latest/APIReference).

An endpoint's address is that of its region, `https://bedrock-runtime.us-east-1.amazonaws.com`. With an `api_key` (a Bedrock API
key), requests carry it; without one they are signed with AWS credentials. Models are named by their ids or inference profiles.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

import orjson

from balancer.endpoint import Endpoint
from balancer.errors import ConfigurationError
from balancer.providers.base import Adapter, Answer, Call, RequestRefused, Translation
from balancer.providers.bedrock.answers import answer_of
from balancer.providers.bedrock.requests import converse_request
from balancer.providers.bedrock.signing import signed_headers
from balancer.providers.bedrock.streams import ConverseStream, event_messages

__all__ = ["BedrockAdapter"]

_LONGEST_NAME = 2048
"""Characters: an ARN of an inference profile has a few hundred."""


class BedrockAdapter(Adapter):
    """Every model that Bedrock serves by Converse."""

    check = None
    lists_models = False
    stream_type = "vnd.amazon.eventstream"

    def __init__(self) -> None:
        try:
            import botocore  # noqa: F401
        except ModuleNotFoundError:
            raise ConfigurationError("provider", "bedrock", "needs botocore: pip install 'roadbalancer[bedrock]'") from None

    def headers(self, endpoint: Endpoint) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        return {**headers, "authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else headers

    def signature(self, endpoint: Endpoint, url: str, body: bytes) -> Mapping[str, str]:
        return {} if endpoint.api_key else signed_headers(endpoint, url, body)

    def call(self, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> Call:
        if path != "/chat/completions":
            raise RequestRefused("url", f"Bedrock answers /chat/completions only (got {path})")
        model, sent = converse_request(endpoint, body)
        if len(model) > _LONGEST_NAME:
            raise RequestRefused("model", f"has more than {_LONGEST_NAME} characters")
        try:
            text = orjson.dumps(sent)
        except orjson.JSONEncodeError as exc:
            raise RequestRefused("body", f"can't be written as JSON: {exc}") from None
        stream = bool(body.get("stream"))
        return Call(f"/model/{quote(model, safe='')}/converse{'-stream' if stream else ''}", text, model, stream)

    def answer(self, call: Call, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        return answer_of(call, status, headers, body)

    def translation(self, call: Call) -> Translation:
        return ConverseStream(call.model)

    def events(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        return event_messages(chunks)
