"""OpenAI's chat completions."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from balancer.endpoint import Endpoint
from balancer.outcome import FailureKind, Usage
from tests.fake_providers.base import (
    KEY,
    Document,
    FakeProvider,
    Image,
    ReceivedRequest,
    Refused,
    Reply,
    Script,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)  # fmt: skip

__all__ = ["FAKE", "OpenAIFakeProvider"]


class OpenAIFakeProvider(FakeProvider):
    """What is said is checked with the types of OpenAI's own SDK."""

    provider = "openai"

    def endpoint(self, address: str, **settings: Any) -> Endpoint:
        return Endpoint(f"{address}/v1", provider=self.provider, api_key=KEY, **settings)

    def read_request(self, path: str, headers: Mapping[str, str], body: bytes) -> ReceivedRequest:
        if path != "/v1/chat/completions":
            raise Refused(f"no such path: {path}")
        if headers.get("authorization") != f"Bearer {KEY}":
            raise Refused("no key")
        request = orjson.loads(body)
        turns = [_turn(message) for message in request["messages"]]
        format = request.get("response_format") or {}
        stop = request.get("stop")
        return ReceivedRequest(
            model=request["model"],
            turns=tuple(turn for turn in turns if turn.role not in ("system", "developer")),
            system="\n\n".join(p.text for turn in turns if turn.role in ("system", "developer") for p in turn.parts),
            tools={tool["function"]["name"]: tool["function"].get("parameters") for tool in request.get("tools") or ()},
            tool_choice=_tool_choice(request.get("tool_choice")),
            schema=format["json_schema"]["schema"] if format.get("type") == "json_schema" else None,
            stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
            max_tokens=request.get("max_completion_tokens") or request.get("max_tokens"),
            temperature=request.get("temperature"),
            stream=bool(request.get("stream")),
            service_tier=request.get("service_tier"),
        )

    def whole_answer(self, script: Script, received: ReceivedRequest) -> Reply:
        calls = [_call(call) for call in script.tool_calls]
        message = {
            "role": "assistant",
            "content": script.text or None,
            "refusal": None,
            **({"tool_calls": calls} if calls else {}),
        }
        completion = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": received.model,
            "choices": [{"index": 0, "message": message, "finish_reason": script.ending.value, "logprobs": None}],
            "usage": _usage(script.usage),
            **({"service_tier": received.service_tier} if received.service_tier else {}),
        }
        ChatCompletion.model_validate(completion)
        return Reply(200, orjson.dumps(completion))

    def stream(self, script: Script, received: ReceivedRequest) -> Iterator[bytes]:
        half = len(script.text) // 2
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": piece} for piece in (script.text[:half], script.text[half:]) if piece]
        for index, call in enumerate(script.tool_calls):
            whole = _call(call)
            text = whole["function"].pop("arguments")
            deltas.append({"tool_calls": [{"index": index, **whole, "function": {**whole["function"], "arguments": ""}}]})
            for piece in (text[: len(text) // 2], text[len(text) // 2 :]):
                deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": received.model}
        for delta in deltas:
            yield _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None})
        yield _event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": script.ending.value}], "usage": None})
        yield _event({**head, "choices": [], "usage": _usage(script.usage)})
        yield b"data: [DONE]\n\n"

    def fail(self, kind: FailureKind) -> Reply | None:
        if kind not in _FAILURES:
            return None
        status, type_, code = _FAILURES[kind]
        error = {"message": f"this is {kind.name}", "type": type_, "param": None, "code": code}
        headers = {"content-type": "application/json"} | ({"retry-after": "7"} if status == 429 else {})
        return Reply(status, orjson.dumps({"error": error}), headers)

    def get(self, path: str) -> Reply:
        model = {"id": "m", "object": "model", "created": 1, "owned_by": "x"}
        return Reply(200, orjson.dumps({"object": "list", "data": [model]})) if path == "/v1/models" else Reply(404, b"{}")


_FAILURES = {
    FailureKind.RATE_LIMIT: (429, "requests", "rate_limit_exceeded"),
    FailureKind.OVERLOADED: (503, "service_unavailable_error", "server_is_overloaded"),
    FailureKind.TIMEOUT: (504, "server_error", None),
    FailureKind.BAD_REQUEST: (400, "invalid_request_error", "invalid_value"),
    FailureKind.AUTHENTICATION: (401, "invalid_request_error", "invalid_api_key"),
    FailureKind.QUOTA: (429, "insufficient_quota", "insufficient_quota"),
    FailureKind.CONTENT_FILTER: (400, "invalid_request_error", "content_filter"),
    FailureKind.CONTEXT_TOO_LONG: (400, "invalid_request_error", "context_length_exceeded"),
    FailureKind.SERVER: (500, "server_error", None),
}


def _turn(message: dict[str, Any]) -> Turn:
    content = message.get("content")
    if message["role"] == "tool":
        return Turn("tool", (ToolResult(message["tool_call_id"], content),))
    parts = [Text(content)] if isinstance(content, str) and content else [_part(p) for p in content or () if isinstance(p, dict)]
    for call in message.get("tool_calls") or ():
        parts.append(ToolCall(call["function"]["name"], orjson.loads(call["function"]["arguments"]), call["id"]))
    return Turn(message["role"], tuple(parts))


def _part(part: dict[str, Any]) -> Any:
    if part["type"] == "text":
        return Text(part["text"])
    if part["type"] == "image_url":
        url = part["image_url"]["url"]
        return Image(*_data(url)) if url.startswith("data:") else Image(url=url)
    if part["type"] == "file":
        return Document(*_data(part["file"]["file_data"]))
    raise Refused(f"unknown part: {part['type']}")


def _data(url: str) -> tuple[str, str]:
    head, _, data = url.removeprefix("data:").partition(",")
    return head.removesuffix(";base64"), data


def _tool_choice(choice: Any) -> str | None:
    return choice["function"]["name"] if isinstance(choice, dict) else choice


def _call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": orjson.dumps(call.arguments).decode()},
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _event(chunk: dict[str, Any]) -> bytes:
    ChatCompletionChunk.model_validate(chunk)
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


FAKE = OpenAIFakeProvider()
