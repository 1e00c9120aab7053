"""Converts input items of the Responses API to messages of a chat (pure).

Shapes: openai SDK 3.52, `openai.types.responses.response_input_item_param`.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from producer_api.http.errors import ApiError, Problem

__all__ = ["Message", "as_messages", "decode_thinking", "encode_thinking", "input_items", "refused"]

Message = dict[str, Any]
_PREFIX = "rb1."
"""Prefix of `encrypted_content` that this server generates; base64 of the thinking blocks follows."""
_PARTS = {"input_text": "text", "output_text": "text", "text": "text", "input_image": "image_url", "input_file": "file"}
_ROLES = ("user", "assistant", "system", "developer")


def refused(place: str, reason: str) -> ApiError:
    """Return the error for what stands at `place` in the request."""
    return ApiError(Problem(400, f"{place}: {reason}", param=place, code="unsupported_parameter"))


def input_items(given: Any) -> list[Any]:
    """Return `input` as a list of items. Raises ApiError, as the others do."""
    if isinstance(given, str) and given:
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}]
    if not isinstance(given, list) or not given:
        if given is None:
            raise ApiError(Problem(400, "missing required parameter: input", param="input", code="missing_required_parameter"))
        raise refused("input", "must be text or a list of items, not empty")
    return given


def as_messages(items: list[Any]) -> list[Message]:
    """Return input items as messages: function calls are added to the preceding message of the assistant."""
    messages: list[Message] = []
    thinking: list[Any] = []
    for index, item in enumerate(items):
        place = f"input[{index}]"
        if not isinstance(item, dict):
            raise refused(place, "must be an object")
        kind = item.get("type", "message")
        if kind == "reasoning":
            thinking += decode_thinking(item)
            continue
        read = _ITEMS.get(kind) if isinstance(kind, str) else None
        if read is None:
            raise refused(
                f"{place}.type", f"must be one of {', '.join([*_ITEMS, 'reasoning'])}; other items are not supported here"
            )
        message = read(item, place)
        if thinking and message["role"] == "assistant":
            message["thinking_blocks"], thinking = thinking, []
        _add(messages, message)
    return messages


def _add(messages: list[Message], message: Message) -> None:
    before = messages[-1] if messages else None
    is_call = message.keys() == {"role", "content", "tool_calls"}  # and nothing else, such as thinking before it
    if before is not None and before["role"] == "assistant" and is_call:
        before["tool_calls"] = [*before.get("tool_calls", ()), *message["tool_calls"]]
    else:
        messages.append(message)


def _message(item: Mapping[str, Any], place: str) -> Message:
    role = item.get("role")
    if role not in _ROLES:
        raise refused(f"{place}.role", f"must be one of {', '.join(_ROLES)}")
    return {"role": role, "content": _content(item.get("content"), f"{place}.content")}


def _content(content: Any, place: str) -> Any:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise refused(place, "must be text or a list of parts")
    return [_part(part, f"{place}[{index}]") for index, part in enumerate(content)]


def _part(part: Any, place: str) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise refused(place, "must be an object")
    if part.get("type") == "refusal" and isinstance(part.get("refusal"), str):
        return {"type": "refusal", "refusal": part["refusal"]}
    kind = _PARTS.get(str(part.get("type")))
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "image_url" and isinstance(part.get("image_url"), str):
        return {"type": "image_url", "image_url": {"url": part["image_url"], "detail": part.get("detail") or "auto"}}
    if kind == "file" and part.get("file_url") is None:
        file = {name: part[name] for name in ("filename", "file_data", "file_id") if part.get(name) is not None}
        return {"type": "file", "file": file}
    raise refused(place, "must be input_text, input_image (with image_url) or input_file (with file_data)")


def _call(item: Mapping[str, Any], place: str) -> Message:
    for name in ("call_id", "name", "arguments"):
        if not isinstance(item.get(name), str):
            raise refused(f"{place}.{name}", "must be a string")
    function = {"name": item["name"], "arguments": item["arguments"]}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": item["call_id"], "type": "function", "function": function}],
    }


def _call_output(item: Mapping[str, Any], place: str) -> Message:
    if not isinstance(item.get("call_id"), str):
        raise refused(f"{place}.call_id", "must be a string")
    return {"role": "tool", "tool_call_id": item["call_id"], "content": _content(item.get("output"), f"{place}.output")}


_ITEMS: Mapping[str, Callable[[Mapping[str, Any], str], Message]] = {
    "message": _message,
    "function_call": _call,
    "function_call_output": _call_output,
}


def encode_thinking(blocks: list[Any]) -> str:
    """Return `encrypted_content` for thinking blocks. It is base64, not encrypted: the client receives the text in clear, too."""
    return _PREFIX + base64.b64encode(orjson.dumps(blocks)).decode()


def decode_thinking(item: Mapping[str, Any]) -> list[Any]:
    """Return the thinking blocks of a reasoning item; none if its `encrypted_content` was not generated by this server."""
    content = item.get("encrypted_content")
    if not isinstance(content, str) or not content.startswith(_PREFIX):
        return []
    try:
        blocks = orjson.loads(base64.b64decode(content.removeprefix(_PREFIX), validate=True))
    except ValueError:
        return []
    return blocks if isinstance(blocks, list) else []
