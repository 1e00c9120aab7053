"""Response objects and the items of their output (pure). Shapes: openai SDK 3.52, `openai.types.responses`."""

import secrets
import time
from collections.abc import Mapping
from typing import Any

from balancer.outcome import Usage
from balancer.results import text_of
from producer_api.responses.items import encode_thinking

__all__ = [
    "call_item",
    "message_item",
    "new_id",
    "output_items",
    "reasoning_item",
    "refusal_part",
    "response_object",
    "text_part",
]


def new_id(prefix: str) -> str:
    """Return an id in OpenAI's format: `resp_…`, `msg_…`."""
    return f"{prefix}_{secrets.token_hex(24)}"


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
    reasoning = request.get("reasoning") or {}
    return {
        "id": identifier,
        "object": "response",
        "created_at": created_at,
        "status": "incomplete" if reason and status == "completed" else status,
        "background": False,
        "completed_at": time.time() if status == "completed" else None,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "metadata": request.get("metadata") or {},
        "model": model,
        "output": output,
        "parallel_tool_calls": request.get("parallel_tool_calls") is not False,
        "previous_response_id": request.get("previous_response_id"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": None},
        "store": request.get("store") is not False,
        "temperature": request.get("temperature"),
        "text": {"format": {"type": "text"}, **{k: v for k, v in (request.get("text") or {}).items() if v is not None}},
        "tool_choice": request.get("tool_choice") or "auto",
        "tools": [{"strict": None, "parameters": None, **tool} for tool in request.get("tools") or ()],
        "top_p": request.get("top_p"),
        "truncation": "disabled",
        "usage": _usage(usage) if usage else None,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.completion,
    }


def output_items(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the output items for a chat message: reasoning, message, function calls."""
    items = []
    thinking, reasoning = message.get("thinking_blocks"), message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thinking, list) or (isinstance(reasoning, str) and reasoning):
        thought = reasoning if isinstance(reasoning, str) else ""
        items.append(reasoning_item(new_id("rs"), thought, thinking if isinstance(thinking, list) else []))
    text, refusal, calls = text_of(message.get("content")), message.get("refusal"), message.get("tool_calls")
    parts = [text_part(text)] if text else []
    parts += [refusal_part(refusal)] if isinstance(refusal, str) and refusal else []
    if parts or not calls:
        items.append(message_item(parts or [text_part("")]))
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") or {}
        items.append(call_item(new_id("fc"), str(call.get("id")), str(function.get("name")), str(function.get("arguments"))))
    return items


def reasoning_item(identifier: str, text: str, thinking: list[Any], status: str = "completed") -> dict[str, Any]:
    """Return a reasoning item. Its `encrypted_content` holds the signed thinking blocks."""
    return {
        "type": "reasoning",
        "id": identifier,
        "summary": [],
        "content": [{"type": "reasoning_text", "text": text}] if text else [],
        "encrypted_content": encode_thinking(thinking) if thinking else None,
        "status": status,
    }


def message_item(parts: list[dict[str, Any]], status: str = "completed", identifier: str = "") -> dict[str, Any]:
    """Return a message item; one in progress has no parts yet."""
    return {"type": "message", "id": identifier or new_id("msg"), "status": status, "role": "assistant", "content": parts}


def text_part(text: str) -> dict[str, Any]:
    """Return a text part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(refusal: str) -> dict[str, Any]:
    """Return a refusal part of a message."""
    return {"type": "refusal", "refusal": refusal}


def call_item(identifier: str, call_id: str, name: str, arguments: str, status: str = "completed") -> dict[str, Any]:
    """Return a function call item."""
    return {
        "type": "function_call",
        "id": identifier,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status,
    }
