"""Anthropic's Messages API: https://platform.claude.com/docs/en/api/messages.

An endpoint's `options` may have `version`, the date in the `anthropic-version` header, and `max_tokens`, the limit for requests
that set none (the API insists on one).
"""

from collections.abc import Mapping
from typing import Any

import orjson

from balancer.endpoint import Endpoint
from balancer.providers.anthropic.answers import answer_of
from balancer.providers.anthropic.batches import AnthropicBatches
from balancer.providers.anthropic.requests import SAMPLING, messages_request, takes_sampling, version_of
from balancer.providers.anthropic.streams import MessageStream
from balancer.providers.base import Adapter, Answer, Call, RequestRefused, Translation
from balancer.providers.batches import BatchApi

__all__ = ["AnthropicAdapter"]


class AnthropicAdapter(Adapter):
    """Anthropic, and every server that speaks its Messages API."""

    def headers(self, endpoint: Endpoint) -> dict[str, str]:
        headers = {"content-type": "application/json", "anthropic-version": version_of(endpoint)}
        if endpoint.api_key:
            headers["x-api-key"] = endpoint.api_key
        return headers

    def call(self, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> Call:
        if path != "/chat/completions":
            raise RequestRefused("url", f"Anthropic answers /chat/completions only (got {path})")
        sent = messages_request(endpoint, body)
        return Call("/messages", _encoded(sent, body), sent["model"], "stream" in sent)

    def batches(self, endpoint: Endpoint) -> BatchApi | None:
        return AnthropicBatches()

    def takes(self, endpoint: Endpoint, field: str) -> bool:
        return field not in SAMPLING or takes_sampling(endpoint)

    def answer(self, call: Call, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        return answer_of(call, status, headers, body)

    def translation(self, call: Call) -> Translation:
        return MessageStream(call.model)


def _encoded(sent: Mapping[str, Any], body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(sent)
    except orjson.JSONEncodeError as exc:
        raise RequestRefused(_culprit(body), f"can't be written as JSON: {exc}") from None


def _culprit(body: Mapping[str, Any]) -> str:
    """Return the name of the field of a request that can't be written."""
    for name, value in body.items():
        try:
            orjson.dumps(value)
        except orjson.JSONEncodeError:
            return name
    return "messages"  # arguments of a tool call, which are text in the request, may be nested more deeply than can be written
