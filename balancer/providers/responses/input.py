"""Converts chat messages to input items of OpenAI's Responses API.

Messages of the system at the beginning become the instructions; later ones keep their place. Tool calls and their results are
items of their own there.
"""

from collections.abc import Mapping
from typing import Any

from balancer.providers.base import RequestRefused
from balancer.providers.documents import file_of

__all__ = ["as_input"]

_SYSTEM = ("system", "developer")


def as_input(messages: Any) -> tuple[str, list[dict[str, Any]]]:
    """Return the instructions (empty if there are none) and the input items. Raises RequestRefused."""
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise RequestRefused("messages", "must be a list of objects")
    begun = next((n for n, message in enumerate(messages) if message.get("role") not in _SYSTEM), len(messages))
    instructions = [_text(message.get("content"), f"messages[{n}].content") for n, message in enumerate(messages[:begun])]
    items = [item for n, message in enumerate(messages[begun:], begun) for item in _items(message, f"messages[{n}]")]
    return "\n\n".join(filter(None, instructions)), items


def _items(message: Mapping[str, Any], place: str) -> list[dict[str, Any]]:
    role = message.get("role")
    content = message.get("content")
    if role in _SYSTEM:
        return [{"role": role, "content": _text(content, f"{place}.content")}]
    if role == "user":
        return [{"role": role, "content": _user_content(content, f"{place}.content")}]
    if role == "assistant":
        return _assistant(message, place)
    if role == "tool":
        output = _text(content, f"{place}.content")
        return [{"type": "function_call_output", "call_id": message.get("tool_call_id"), "output": output}]
    raise RequestRefused(f"{place}.role", f"OpenAI's Responses API has no role {role!r}")


def _user_content(content: Any, place: str) -> Any:
    if isinstance(content, list):
        return [_part(part, f"{place}[{index}]") for index, part in enumerate(content)]
    return _text(content, place)


def _part(part: Any, place: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return {**_further(part, "text"), "type": "input_text", "text": part.get("text")}
    if kind == "image_url":
        image = part.get("image_url")
        image = image if isinstance(image, dict) else {"url": image}
        detail = image.get("detail") or "auto"
        return {**_further(part, "image_url"), "type": "input_image", "image_url": image.get("url"), "detail": detail}
    if kind == "file" and isinstance(part.get("file"), dict):
        return {**_further(part, "file"), "type": "input_file", **part["file"]}
    if kind == "document":
        return {**_further(part, "document_url", "filename"), "type": "input_file", **file_of(part, place)}
    raise RequestRefused(f"{place}.type", f"OpenAI's Responses API takes no part of the type {kind!r}")


def _further(part: Mapping[str, Any], *read: str) -> dict[str, Any]:
    """Return the fields of a part that are not translated: they are OpenAI's to judge."""
    return {name: value for name, value in part.items() if name not in ("type", *read) and value is not None}


def _assistant(message: Mapping[str, Any], place: str) -> list[dict[str, Any]]:
    for name in ("function_call", "audio"):
        if message.get(name):
            raise RequestRefused(f"{place}.{name}", "is not translated for OpenAI's Responses API")
    # A refusal is sent as content. Parts would need the ids of the answer that they come from.
    content = _text(message.get("content"), f"{place}.content") + _text(message.get("refusal"), f"{place}.refusal")
    items: list[dict[str, Any]] = [{"role": "assistant", "content": content}] if content else []
    calls = message.get("tool_calls") or ()
    if not isinstance(calls, (list, tuple)):
        raise RequestRefused(f"{place}.tool_calls", "must be a list")
    return items + [_call(call, f"{place}.tool_calls[{index}]") for index, call in enumerate(calls)]


def _call(call: Any, place: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise RequestRefused(f"{place}.function", "must be an object; calls of other tools are not translated")
    return {
        "type": "function_call",
        "call_id": call.get("id"),
        "name": function.get("name"),
        "arguments": function.get("arguments") or "{}",
    }


def _text(content: Any, place: str) -> str:
    """Return content that may only be text: a string, or parts of text."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise RequestRefused(place, "must be text or a list of parts")
    texts: list[str] = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get(kind) if kind in ("text", "refusal") else None  # the field is called as the part
        if not isinstance(text, str):
            raise RequestRefused(f"{place}[{index}].type", "must be a part with text: this message can hold nothing else")
        texts.append(text)
    return "".join(texts)
