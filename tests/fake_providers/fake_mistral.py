"""Mistral's API: OpenAI's format, without fields that it does not know."""

from collections.abc import Mapping

import orjson

from tests.fake_providers.base import ReceivedRequest, Refused
from tests.fake_providers.fake_openai import OpenAIFakeProvider

__all__ = ["FAKE", "MistralFakeProvider"]

FIELDS = {
    "model", "messages", "temperature", "top_p", "max_tokens", "stream", "stream_options", "stop", "random_seed", "tools",
    "response_format", "tool_choice", "parallel_tool_calls", "presence_penalty", "frequency_penalty", "n", "prediction",
    "safe_prompt", "metadata", "reasoning_effort", "prompt_cache_key", "safety_identifier",
}  # fmt: skip
OF_MESSAGES = {"role", "content", "name", "tool_calls", "tool_call_id", "prefix", "refusal"}


class MistralFakeProvider(OpenAIFakeProvider):
    """Refuses whatever its own schema has not ("Extra inputs are not permitted", 422)."""

    provider = "mistral"

    def read_request(self, path: str, headers: Mapping[str, str], body: bytes) -> ReceivedRequest:
        request = orjson.loads(body)
        extra = set(request) - FIELDS
        for message in request["messages"]:
            extra |= set(message) - OF_MESSAGES
        if extra:
            raise Refused(f"{', '.join(sorted(extra))}: Extra inputs are not permitted")
        return super().read_request(path, headers, body)


FAKE = MistralFakeProvider()
