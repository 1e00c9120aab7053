"""What Anthropic's Messages API refuses in a request."""

import re
from collections.abc import Mapping
from typing import Any

from tests.fake_providers.base import KEY, Refused

__all__ = ["HIDDEN", "SIGNATURE", "check_head", "checked_messages", "need"]

NEW_VERSION, OLD_VERSION = "2026-10-21", "2023-06-01"
SAMPLING = {"temperature", "top_p", "top_k"}
FIELDS = {
    "model", "max_tokens", "messages", "system", "stop_sequences", "stream", "tools", "tool_choice", "thinking", "output_config",
    "metadata", "service_tier", "cache_control",
}  # fmt: skip
BLOCKS = {
    "text": {"type", "text", "cache_control", "citations"},
    "image": {"type", "source", "cache_control"},
    "document": {"type", "source", "title", "context", "citations", "cache_control"},
    "tool_use": {"type", "id", "name", "input", "cache_control"},
    "tool_result": {"type", "tool_use_id", "content", "is_error", "cache_control"},
    "thinking": {"type", "thinking", "signature"},
    "redacted_thinking": {"type", "data"},
}
"""The members that a block may have, by its type."""
SIDES = {"user": {"text", "image", "document", "tool_result"}, "assistant": {"text", "tool_use", "thinking", "redacted_thinking"}}
MEDIA_TYPES = {"image": {"image/jpeg", "image/png", "image/gif", "image/webp"}, "document": {"application/pdf"}}
SIGNATURE, HIDDEN = "c2lnbmVk", "aGlkZGVu"
"""What proves that a block of thinking is this server's own: its signature, or its data."""
TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")
EFFORTS = {"low", "medium", "high", "xhigh", "max"}


def need(condition: Any, what: str) -> None:
    """Refuse a request that does not fulfil a condition."""
    if not condition:
        raise Refused(what)


def check_head(path: str, headers: Mapping[str, str], request: dict[str, Any]) -> None:
    """Refuse what is wrong outside the messages."""
    need(path == "/v1/messages", f"no such path: {path}")
    need(headers.get("x-api-key") == KEY, "no key")
    need(headers.get("content-type") == "application/json", "content-type")
    version = headers.get("anthropic-version")
    need(version in (NEW_VERSION, OLD_VERSION), f"anthropic-version: {version}")
    extra = set(request) - (FIELDS if version == NEW_VERSION else FIELDS | SAMPLING)
    need(not extra, f"{', '.join(sorted(extra))}: Extra inputs are not permitted")
    need(isinstance(request.get("model"), str) and request["model"], "model")
    need(type(request.get("max_tokens")) is int and request["max_tokens"] > 0, "max_tokens: Field required")
    _check_system(request.get("system", "x"))
    need(request.get("service_tier", "auto") in ("auto", "standard_only"), "service_tier")
    need(set(request.get("metadata", {})) <= {"user_id"}, "metadata")
    thinking = request.get("thinking", {"type": "adaptive"})
    need(thinking.get("type") in ("adaptive", "enabled", "disabled", "between_tools"), "thinking.type")
    _check_config(request.get("output_config", {}))


def _check_system(system: Any) -> None:
    if isinstance(system, list):
        for block in system:
            _check_block(block, {"text"}, "system")
    need(system and isinstance(system, str | list), "system")


def _check_config(config: dict[str, Any]) -> None:
    need(set(config) <= {"effort", "format"} and config.get("effort", "low") in EFFORTS, "output_config")
    if "format" in config:
        need(set(config["format"]) == {"type", "schema"} and config["format"]["type"] == "json_schema", "output_config.format")
        _check_closed(config["format"]["schema"])


def _check_closed(schema: Any) -> None:
    if isinstance(schema, dict):
        closed = schema.get("type") != "object" or "additionalProperties" in schema
        need(closed, "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false")
        for value in schema.values():
            _check_closed(value)
    elif isinstance(schema, list):
        for value in schema:
            _check_closed(value)


def checked_messages(messages: Any) -> list[dict[str, Any]]:
    """Return the messages; refuse what is wrong in them."""
    need(isinstance(messages, list) and messages, "messages: at least one message is required")
    called: set[str] = set()
    for index, message in enumerate(messages):
        place = f"messages.{index}"
        need(set(message) == {"role", "content"}, place)
        need(message["role"] == ("user", "assistant")[index % 2], f"{place}.role: they are to take turns")
        need(isinstance(message["content"], list) and message["content"], f"{place}.content")
        for block in message["content"]:
            _check_block(block, SIDES[message["role"]], place)
        results = [block["type"] == "tool_result" for block in message["content"]]
        need(results == sorted(results, reverse=True), f"{place}: tool_result blocks come first")
        answered = {block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"}
        need(answered == called, f"{place}: each tool_use has to have its tool_result in the next message")
        called = {block["id"] for block in message["content"] if block["type"] == "tool_use"}
    return messages


def _check_block(block: dict[str, Any], allowed: set[str], place: str) -> None:
    type_ = block["type"]
    need(type_ in allowed, f"{place}: {type_} can't stand here")
    need(set(block) <= BLOCKS[type_], f"{place}: {sorted(block)}: Extra inputs are not permitted")
    if type_ == "text":
        need(block["text"].strip(), f"{place}: text content blocks must contain non-whitespace text")
    need(block.get("signature", SIGNATURE) == SIGNATURE, f"{place}: Invalid `signature` in `thinking` block")
    need(type_ != "redacted_thinking" or block["data"] == HIDDEN, f"{place}: Invalid `data` in `redacted_thinking` block")
    for name in ("id", "tool_use_id"):
        need(TOOL_ID.fullmatch(block.get(name, "x")), f"{place}: {name}: String should match pattern '{TOOL_ID.pattern}'")
    if type_ == "tool_use":
        need(isinstance(block["input"], dict), f"{place}: input")
    if type_ in MEDIA_TYPES:
        _check_source(block["source"], MEDIA_TYPES[type_], place)
    for inner in block.get("content", ()):
        _check_block(inner, {"text", "image", "document"}, place)


def _check_source(source: dict[str, Any], media_types: set[str], place: str) -> None:
    if source["type"] == "url":
        need(set(source) == {"type", "url"} and source["url"].startswith("http"), f"{place}: source")
        return
    if source["type"] == "text" and "application/pdf" in media_types:
        need(set(source) == {"type", "media_type", "data"} and source["media_type"] == "text/plain", f"{place}: source")
        return
    need(set(source) == {"type", "media_type", "data"} and source["type"] == "base64", f"{place}: source")
    need(source["media_type"] in media_types and not source["data"].startswith("data:"), f"{place}: source")
