"""Gemini requests and answers, said shortly."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from google.genai.types import GenerateContentResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from balancer.endpoint import Endpoint
from balancer.outcome import Failure
from balancer.providers import Answer, Call, RequestRefused, StreamFault, Translation
from balancer.providers.gemini.adapter import GeminiAdapter

__all__ = [
    "ADAPTER",
    "CALL",
    "ENDPOINT",
    "HI",
    "RESULT",
    "TOOL_CALL",
    "answer",
    "candidate",
    "choice",
    "fault",
    "message",
    "read",
    "refusal",
    "request",
    "said",
]


ADAPTER = GeminiAdapter()
ENDPOINT = Endpoint("https://generativelanguage.googleapis.com/v1beta", provider="gemini", api_key="k")
HI = [{"role": "user", "content": "Hi"}]
CALL = Call("/models/g:generateContent", b"", "g")
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Seoul"}'}}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "Sunny"}


def request(endpoint: Endpoint = ENDPOINT, **fields: Any) -> dict[str, Any]:
    """Return the body that is sent for a chat with those fields."""
    return orjson.loads(ADAPTER.call(endpoint, "/chat/completions", {"model": "g", "messages": HI, **fields}).body)


def refusal(endpoint: Endpoint = ENDPOINT, **fields: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        request(endpoint, **fields)
    return caught.value


def message(**fields: Any) -> list[dict[str, Any]]:
    return [{"role": "user", **fields}]


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return ADAPTER.answer(CALL, status, headers or {}, body if isinstance(body, bytes) else orjson.dumps(body))


def candidate(*parts: dict[str, Any], reason: str | None = "STOP", **fields: Any) -> dict[str, Any]:
    ending = {"finishReason": reason} if reason else {}
    return {"content": {"role": "model", "parts": list(parts)}, "index": 0, **ending, **fields}


def said(*candidates: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return an answer of Gemini's, as its own SDK would read it."""
    whole = {"candidates": list(candidates), **fields}
    GenerateContentResponse.model_validate(whole)
    return whole


def choice(*candidates: dict[str, Any]) -> dict[str, Any]:
    """Return the first choice of the completion that candidates make."""
    parsed = answer(said(*candidates)).parsed
    assert parsed is not None
    ChatCompletion.model_validate(parsed)
    return parsed["choices"][0]


def read(translation: Translation, *events: Any) -> list[Mapping[str, Any]]:
    """Return the chunks that events make, with what is reported at the end."""
    chunks: list[Mapping[str, Any]] = []
    for event in events:
        chunks += translation.take(event if isinstance(event, bytes) else orjson.dumps(event))
    chunks += translation.close()
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    return chunks


def fault(*events: Any) -> Failure:
    with pytest.raises(StreamFault) as caught:
        read(ADAPTER.translation(CALL), *events)
    return caught.value.failure
