"""Converts chat answers to Anthropic's messages (pure)."""

import secrets
from collections.abc import Mapping
from typing import Any

import orjson

from balancer.outcome import Usage
from balancer.results import first_choice, text_of

__all__ = ["ending_of", "message_object", "new_message_id", "plain_citation", "usage_object"]

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def new_message_id() -> str:
    """Return a message id in Anthropic's format."""
    return f"msg_{secrets.token_hex(12)}"


def message_object(raw: Mapping[str, Any], model: str, usage: Usage, identifier: str = "") -> dict[str, Any]:
    """Return the message that a chat completion stands for. `model` is used if the completion does not name one."""
    choice = first_choice(raw)
    message = choice.get("message")
    found = message if isinstance(message, dict) else {}
    return {
        "id": identifier or new_message_id(),
        "type": "message",
        "role": "assistant",
        "model": str(raw.get("model") or model),
        "content": _content(found),
        **ending_of(choice, found.get("refusal")),
        "usage": usage_object(usage),
    }


def ending_of(choice: Mapping[str, Any], refusal: Any) -> dict[str, Any]:
    """Return why an answer ended: with a refusal, its explanation; with a stop sequence, that one where the endpoint names it
    (vLLM does, in `stop_reason`)."""
    if isinstance(refusal, str) and refusal:
        details = {"type": "refusal", "category": None, "explanation": refusal}
        return {"stop_reason": "refusal", "stop_sequence": None, "stop_details": details}
    sequence = choice.get("stop_reason")
    if choice.get("finish_reason") == "stop" and isinstance(sequence, str):
        return {"stop_reason": "stop_sequence", "stop_sequence": sequence, "stop_details": None}
    reason = _STOP_REASONS.get(str(choice.get("finish_reason")), "end_turn")
    return {"stop_reason": reason, "stop_sequence": None, "stop_details": None}


def _content(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    thinking = message.get("thinking_blocks")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thinking, list):
        blocks += thinking
    elif isinstance(reasoning, str) and reasoning:
        # Only Anthropic signs its thinking; a block without a signature is not sent back to it.
        blocks.append({"type": "thinking", "thinking": reasoning, "signature": ""})
    blocks += _text_blocks(text_of(message.get("content")) or "", message.get("citations"))
    calls = message.get("tool_calls")
    return blocks + [_tool_use(call) for call in (calls if isinstance(calls, list) else [])]


def _text_blocks(text: str, citations: Any) -> list[dict[str, Any]]:
    """Cut an answer's text where its citations begin and end."""
    passages: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for each in citations if isinstance(citations, list) else ():
        passages.setdefault((each["start_index"], each["end_index"]), []).append(plain_citation(each))
    blocks, position = [], 0
    for (start, end), found in sorted(passages.items()):
        blocks += [(text[position:start], None), (text[start:end], found)]
        position = end
    blocks.append((text[position:], None))
    return [{"type": "text", "text": part, "citations": found} for part, found in blocks if part]


def plain_citation(citation: Mapping[str, Any]) -> dict[str, Any]:
    """Return a citation of an assistant's message without its place in the text."""
    return {name: value for name, value in citation.items() if name not in ("start_index", "end_index")}


def _tool_use(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    return {"type": "tool_use", "id": str(call.get("id")), "name": str(function.get("name")), "input": _input(function)}


def _input(function: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call. What is not a JSON object is returned as text, under `arguments`."""
    arguments = function.get("arguments")
    try:
        parsed = orjson.loads(arguments or "{}")
    except (orjson.JSONDecodeError, TypeError):
        parsed = None
    return parsed if isinstance(parsed, dict) else {"arguments": arguments}


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return `usage` in Anthropic's format: `input_tokens` excludes tokens written to and read from the prompt cache."""
    return {
        "input_tokens": max(0, usage.prompt - usage.cached - usage.cache_write),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write - usage.cache_write_hour,
            "ephemeral_1h_input_tokens": usage.cache_write_hour,
        },
        "output_tokens": usage.completion,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
        "service_tier": "standard",
    }
