"""Mistral's API: OpenAI's format, without fields that it does not know."""

from collections.abc import Mapping

import orjson

from tests.fake_providers.speak_openai import OpenAIFakeProvider
from tests.fake_providers.speaker import Heard, Refused

__all__ = ["SPEAKER", "MistralFakeProvider"]

FIELDS = {
    "model", "messages", "temperature", "top_p", "max_tokens", "stream", "stream_options", "stop", "random_seed", "tools",
    "response_format", "tool_choice", "parallel_tool_calls", "presence_penalty", "frequency_penalty", "n", "prediction",
    "safe_prompt", "metadata", "reasoning_effort", "prompt_cache_key", "safety_identifier",
}  # fmt: skip
OF_MESSAGES = {"role", "content", "name", "tool_calls", "tool_call_id", "prefix", "refusal"}


class MistralFakeProvider(OpenAIFakeProvider):
    """Refuses whatever its own schema has not ("Extra inputs are not permitted", 422)."""

    provider = "mistral"

    def hear(self, path: str, headers: Mapping[str, str], body: bytes) -> Heard:
        request = orjson.loads(body)
        extra = set(request) - FIELDS
        for message in request["messages"]:
            extra |= set(message) - OF_MESSAGES
        if extra:
            raise Refused(f"{', '.join(sorted(extra))}: Extra inputs are not permitted")
        return super().hear(path, headers, body)


SPEAKER = MistralFakeProvider()
