"""Converts between OpenAI's Responses API and chat requests (pure).

Shapes: openai SDK 3.52, `openai.types.responses`.
"""

import secrets
import time
from collections.abc import Container, Mapping
from typing import Any

from balancer.outcome import Usage
from balancer.results import text_of
from producer_api.http.errors import ApiError, Problem

__all__ = ["chat_body", "message_item", "message_parts", "refusal_part", "response_object", "text_part"]

_PASSED_ON = ("model", "temperature", "top_p", "user", "metadata", "service_tier", "prompt_cache_key", "safety_identifier")
_SAYS_NOTHING = ("store", "stream", "stream_options", "include", "truncation", "parallel_tool_calls", "instructions", "input")
_MAPPED = ("max_output_tokens", "reasoning", "text")
_PARTS = {"input_text": "text", "output_text": "text", "text": "text", "input_image": "image_url", "input_file": "file"}


def chat_body(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chat request that a Responses request stands for. Raises ApiError that names what is not supported."""
    for name, value in request.items():
        if value is not None and value != [] and name not in (*_PASSED_ON, *_SAYS_NOTHING, *_MAPPED):
            raise _refused(name, f"{name} is not supported here; use /v1/chat/completions for tools and the like")
    body = {name: request[name] for name in _PASSED_ON if request.get(name) is not None}
    body["messages"] = _messages(request)
    if request.get("max_output_tokens") is not None:
        body["max_completion_tokens"] = request["max_output_tokens"]
    reasoning, text = _object(request, "reasoning", {"effort"}), _object(request, "text", {"format", "verbosity"})
    if reasoning.get("effort") is not None:
        body["reasoning_effort"] = reasoning["effort"]
    if text.get("verbosity") is not None:
        body["verbosity"] = text["verbosity"]
    if text.get("format") is not None:
        body["response_format"] = _response_format(text["format"])
    return body


def _object(request: Mapping[str, Any], name: str, known: Container[str]) -> Mapping[str, Any]:
    value = request.get(name) or {}
    if not isinstance(value, dict):
        raise _refused(name, f"{name}: must be an object")
    for field, given in value.items():
        if given is not None and field not in known:
            raise _refused(f"{name}.{field}", f"{name}.{field} is not supported here; leave it out")
    return value


def _response_format(format: Any) -> dict[str, Any]:
    if not isinstance(format, dict) or format.get("type") not in ("text", "json_object", "json_schema"):
        raise _refused("text.format", "text.format: its `type` must be text, json_object or json_schema")
    if format["type"] != "json_schema":
        return {"type": format["type"]}
    return {"type": "json_schema", "json_schema": {name: value for name, value in format.items() if name != "type"}}


def _messages(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    instructions, given = request.get("instructions"), request.get("input")
    if instructions is not None:
        if not isinstance(instructions, str):
            raise _refused("instructions", "instructions: must be a string")
        messages.append({"role": "system", "content": instructions})
    if isinstance(given, str) and given:
        return [*messages, {"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        problem = "missing required parameter: input" if given is None else "input: must be text or a list of items, not empty"
        raise _refused("input", problem)
    return [*messages, *(_message(item, f"input[{index}]") for index, item in enumerate(given))]


def _message(item: Any, place: str) -> dict[str, Any]:
    if not isinstance(item, dict) or item.get("type", "message") != "message":
        raise _refused(place, f"{place}: must be a message; other items are not supported here")
    role, content = item.get("role"), item.get("content")
    if role not in ("user", "assistant", "system", "developer"):
        raise _refused(f"{place}.role", f"{place}.role: must be user, assistant, system or developer")
    if isinstance(content, str):
        return {"role": role, "content": content}
    if not isinstance(content, list):
        raise _refused(f"{place}.content", f"{place}.content: must be text or a list of parts")
    return {"role": role, "content": [_part(part, f"{place}.content[{index}]") for index, part in enumerate(content)]}


def _part(part: Any, place: str) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise _refused(place, f"{place}: must be an object")
    kind = _PARTS.get(str(part.get("type")))
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "image_url" and isinstance(part.get("image_url"), str):
        return {"type": "image_url", "image_url": {"url": part["image_url"], "detail": part.get("detail") or "auto"}}
    if kind == "file":
        file = {name: part[name] for name in ("filename", "file_data", "file_id") if part.get(name) is not None}
        return {"type": "file", "file": file}
    raise _refused(place, f"{place}: must be input_text, input_image or input_file")


def response_object(
    request: Mapping[str, Any],
    identifier: str,
    created_at: float,
    model: str,
    status: str,
    output: list[dict[str, Any]],
    usage: Usage | None = None,
    finish_reason: str | None = None,
) -> dict[str, Any]:
    """Return a Response object in the given status; one that was cut off is `incomplete`."""
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(finish_reason or "")
    return {
        "id": identifier,
        "object": "response",
        "created_at": created_at,
        "status": "incomplete" if reason and status == "completed" else status,
        "completed_at": time.time() if status == "completed" else None,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "metadata": request.get("metadata") or {},
        "model": model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": (request.get("reasoning") or {}).get("effort"), "summary": None},
        "store": False,
        "temperature": request.get("temperature"),
        "text": {"format": {"type": "text"}, **{k: v for k, v in (request.get("text") or {}).items() if v is not None}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": request.get("top_p"),
        "truncation": "disabled",
        "usage": _usage(usage) if usage else None,
    }


def text_part(text: str) -> dict[str, Any]:
    """Return the part of a message that says something."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(refusal: str) -> dict[str, Any]:
    """Return the part of a message in which the model says why it does not answer."""
    return {"type": "refusal", "refusal": refusal}


def message_parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of a chat's message: its text, its refusal; an empty text if there is neither."""
    text, refusal = text_of(message.get("content")), message.get("refusal")
    parts = [text_part(text)] if text else []
    parts += [refusal_part(refusal)] if isinstance(refusal, str) and refusal else []
    return parts or [text_part("")]


def message_item(parts: list[dict[str, Any]], status: str = "completed", identifier: str = "") -> dict[str, Any]:
    """Return the output item that holds a message; one in progress has no parts yet."""
    return {
        "type": "message",
        "id": identifier or f"msg_{secrets.token_hex(16)}",
        "status": status,
        "role": "assistant",
        "content": parts,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.completion,
    }


def _refused(param: str, message: str) -> ApiError:
    return ApiError(Problem(400, message, param=param, code="unsupported_parameter"))
