"""Anthropic's Messages API."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from pydantic import TypeAdapter

from balancer.endpoint import Endpoint
from balancer.outcome import FailureKind, Usage
from tests.fake_providers.anthropic_rules import HIDDEN, SIGNATURE, check_head, checked_messages, need
from tests.fake_providers.base import (
    KEY,
    Document,
    Ending,
    FakeProvider,
    Image,
    ReceivedRequest,
    Refused,
    Reply,
    Script,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    Turn,
)  # fmt: skip

__all__ = ["FAKE", "AnthropicFakeProvider"]

CHOICES = {"auto": "auto", "none": "none", "any": "required"}


class AnthropicFakeProvider(FakeProvider):
    """What is said is checked with the types of Anthropic's own SDK."""

    provider = "anthropic"
    counts = ("prompt", "completion", "cached", "reasoning", "cache_write")

    def prepare(self) -> None:
        _validator("Message")

    def endpoint(self, address: str, **settings: Any) -> Endpoint:
        return Endpoint(f"{address}/v1", provider=self.provider, api_key=KEY, **settings)

    def read_request(self, path: str, headers: Mapping[str, str], body: bytes) -> ReceivedRequest:
        request = orjson.loads(body)
        check_head(path, headers, request)
        turns = [turn for message in checked_messages(request["messages"]) for turn in _turns(message)]
        format = request.get("output_config", {}).get("format")
        return ReceivedRequest(
            model=request["model"],
            turns=tuple(turns),
            system=request.get("system", ""),
            tools=_tools(request),
            tool_choice=_tool_choice(request),
            schema=format and format["schema"],
            stop=tuple(request.get("stop_sequences") or ()),
            max_tokens=request["max_tokens"],
            temperature=request.get("temperature"),
            stream=request.get("stream", False),
        )

    def whole_answer(self, script: Script, received: ReceivedRequest) -> Reply:
        message = {**_message(received), "content": _content(script), "usage": _usage(script.usage), **_stop(script)}
        _check("Message", message)
        return Reply(200, orjson.dumps(message), {"content-type": "application/json", "request-id": "req_1"})

    def stream(self, script: Script, received: ReceivedRequest) -> Iterator[bytes]:
        usage = {**_usage(script.usage), "output_tokens": 1, "output_tokens_details": None}
        yield _event("message_start", message={**_message(received), "content": [], "stop_reason": None, "usage": usage})
        yield b'event: ping\ndata: {"type": "ping"}\n\n'
        yield b'event: yet_to_be_invented\ndata: {"type": "yet_to_be_invented", "delta": 7}\n\n'
        for index, block in enumerate(_content(script)):
            empty, deltas = _pieces(block)
            yield _event("content_block_start", index=index, content_block=empty)
            for delta in deltas:
                yield _event("content_block_delta", index=index, delta=delta)
            yield _event("content_block_stop", index=index)
        yield _event("message_delta", delta=_stop(script), usage=_usage(script.usage))
        yield _event("message_stop")

    def fail(self, kind: FailureKind) -> Reply | None:
        status, type_, words, details = FAILURES[kind]
        error = {"type": type_, "message": f"this is {kind.name}{words}", **({"details": details} if details else {})}
        body = {"type": "error", "error": error, "request_id": "req_1"}
        _check("ErrorResponse", body)
        headers = {"content-type": "application/json", "request-id": "req_1"}
        return Reply(status, orjson.dumps(body), headers | ({"retry-after": "7"} if kind is FailureKind.RATE_LIMIT else {}))

    def refuse(self, reason: str) -> Reply:
        error = {"type": "invalid_request_error", "message": reason}
        return Reply(400, orjson.dumps({"type": "error", "error": error, "request_id": "req_1"}))

    def get(self, path: str) -> Reply:
        model = {"id": "m", "type": "model", "display_name": "M", "created_at": "2026-01-01T00:00:00Z"}
        listing = {"data": [model], "has_more": False, "first_id": "m", "last_id": "m"}
        return Reply(200, orjson.dumps(listing)) if path == "/v1/models" else Reply(404, b"{}")


FAILURES: dict[FailureKind, tuple[int, str, str, dict[str, Any] | None]] = {
    FailureKind.RATE_LIMIT: (429, "rate_limit_error", "", None),
    FailureKind.OVERLOADED: (529, "overloaded_error", "", None),
    FailureKind.TIMEOUT: (504, "timeout_error", "", None),
    FailureKind.BAD_REQUEST: (400, "invalid_request_error", "", None),
    FailureKind.AUTHENTICATION: (401, "authentication_error", "", None),
    FailureKind.QUOTA: (429, "rate_limit_error", "", {"error_code": "enforced_spend_limit_reached"}),
    FailureKind.CONTENT_FILTER: (400, "invalid_request_error", ": Output blocked by content filtering policy", None),
    FailureKind.CONTEXT_TOO_LONG: (400, "invalid_request_error", ": prompt is too long: 200001 tokens > 200000 maximum", None),
    FailureKind.SERVER: (500, "api_error", "", None),
}
"""Kind -> status, type, what the message says besides, details."""


def _turns(message: dict[str, Any]) -> Iterator[Turn]:
    """Results of tools are a turn of their own, whatever else the user says with them."""
    parts = [_part(block) for block in message["content"]]
    results = tuple(part for part in parts if isinstance(part, ToolResult))
    others = tuple(part for part in parts if not isinstance(part, ToolResult))
    if results:
        yield Turn("tool", results)
    if others:
        yield Turn(message["role"], others)


def _part(block: dict[str, Any]) -> Any:
    match block:
        case {"type": "text", "text": text}:
            return Text(text)
        case {"type": "tool_use", "name": name, "input": arguments, "id": identifier}:
            return ToolCall(name, arguments, identifier)
        case {"type": "tool_result", "tool_use_id": identifier}:
            text = "".join(inner["text"] for inner in block.get("content", ()) if "text" in inner)
            return ToolResult(identifier, "Error: " + text if block.get("is_error") else text)
        case {"type": "thinking", "thinking": thinking}:
            return Thought(thinking)
        case {"type": "redacted_thinking"}:
            return Thought("")
        case {"type": "image", "source": {"type": "url", "url": url}}:
            return Image(url=url)
        case {"type": "image", "source": {"media_type": media_type, "data": data}}:
            return Image(media_type, data)
        case {"type": "document", "source": {"media_type": media_type, "data": data}}:
            return Document(media_type, data)
        case {"type": "document", "source": {"type": "url", "url": url}}:
            return Document("", url)
    raise Refused(f"{block['type']}: Input should be a valid block")


def _tools(request: dict[str, Any]) -> dict[str, Any]:
    tools = request.get("tools") or ()
    for tool in tools:
        known = {"name", "description", "input_schema", "strict", "cache_control"}
        need(set(tool) <= known, "tools: Extra inputs are not permitted")
        need(tool["input_schema"]["type"] == "object", "tools: input_schema.type")
    return {tool["name"]: tool["input_schema"] for tool in tools}


def _tool_choice(request: dict[str, Any]) -> str | None:
    choice = request.get("tool_choice")
    if choice is None:
        return None
    need(request.get("tools"), "tool_choice: there are no tools")
    allowed = {"none": {"type"}, "tool": {"type", "name", "disable_parallel_tool_use"}}
    need(set(choice) <= allowed.get(choice["type"], {"type", "disable_parallel_tool_use"}), "tool_choice")
    return choice["name"] if choice["type"] == "tool" else CHOICES[choice["type"]]


def _message(received: ReceivedRequest) -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": received.model, "stop_sequence": None}


def _content(script: Script) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if script.usage.reasoning:
        blocks.append({"type": "thinking", "thinking": "Well, well.", "signature": SIGNATURE})
        blocks.append({"type": "redacted_thinking", "data": HIDDEN})
    if script.text:
        blocks.append({"type": "text", "text": script.text, "citations": None})
    return blocks + [{"type": "tool_use", "id": c.id, "name": c.name, "input": dict(c.arguments)} for c in script.tool_calls]


def _pieces(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the block as it begins, and what is added to it."""
    if block["type"] == "tool_use":
        text = orjson.dumps(block["input"]).decode()
        pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *_halves(text))]
        return {**block, "input": {}}, pieces
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in _halves(block["text"])]
    if block["type"] == "thinking":
        thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in _halves(block["thinking"])]
        return {**block, "thinking": "", "signature": ""}, [*thoughts, {"type": "signature_delta", "signature": SIGNATURE}]
    return block, []


def _halves(text: str) -> list[str]:
    return [piece for piece in (text[: len(text) // 2], text[len(text) // 2 :]) if piece]


def _stop(script: Script) -> dict[str, Any]:
    reasons = {Ending.STOP: "end_turn", Ending.LENGTH: "max_tokens", Ending.TOOLS: "tool_use", Ending.REFUSAL: "refusal"}
    details = {"type": "refusal", "category": None, "explanation": "No."} if script.ending is Ending.REFUSAL else None
    return {"stop_reason": reasons[script.ending], "stop_sequence": None, "stop_details": details}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt - usage.cached - usage.cache_write,
        "cache_creation_input_tokens": usage.cache_write or None,
        "cache_read_input_tokens": usage.cached or None,
        "output_tokens": usage.completion,
        "output_tokens_details": {"thinking_tokens": usage.reasoning} if usage.reasoning else None,
    }


def _check(type_: str, value: dict[str, Any]) -> None:
    """Raise ValidationError if a value is none of a type of Anthropic's SDK."""
    _validator(type_).validate_python(value)


@functools.cache
def _validator(type_: str) -> TypeAdapter[Any]:
    from anthropic import types  # four seconds of CPU, in each process that collects tests

    return TypeAdapter(getattr(types, type_))


def _event(type_: str, **members: Any) -> bytes:
    event = {"type": type_, **members}
    _check("RawMessageStreamEvent", event)
    return b"event: %b\ndata: %b\n\n" % (type_.encode(), orjson.dumps(event))


FAKE = AnthropicFakeProvider()
