"""Removes fields of Anthropic's format from chat messages."""

from typing import Any

__all__ = ["plain_messages", "with_failures_in_words"]

FAILED = "Error: "
_NO_EFFECT = ("cache_control", "thinking_blocks", "reasoning_content", "citations")
"""Fields without an effect on the answer of another provider's model."""


def plain_messages(messages: Any) -> Any:
    """Return a request's messages without Anthropic's fields that change no answer, in their parts too. Those that do, such as a
    document's `context`, are left for the service to refuse."""
    if not isinstance(messages, list):
        return messages
    return [_plain(message) for message in messages]


def _plain(owner: Any) -> Any:
    if not isinstance(owner, dict):
        return owner
    made = {name: value for name, value in owner.items() if name not in _NO_EFFECT}
    if isinstance(made.get("content"), list):
        made["content"] = [_plain(part) for part in made["content"]]
    return made


def with_failures_in_words(messages: Any) -> Any:
    """Return a request's messages without `is_error`, which OpenAI's format has no field for: where it is true, the tool's result
    begins with "Error: ". `messages` itself if there is none."""
    if not isinstance(messages, list) or not any(isinstance(message, dict) and "is_error" in message for message in messages):
        return messages
    return [_in_words(message) if isinstance(message, dict) and "is_error" in message else message for message in messages]


def _in_words(message: dict[str, Any]) -> dict[str, Any]:
    made = {name: value for name, value in message.items() if name != "is_error"}
    content = message.get("content")
    if not message["is_error"]:
        return made
    if isinstance(content, list):
        return {**made, "content": [{"type": "text", "text": FAILED}, *content]}
    return {**made, "content": FAILED + (content if isinstance(content, str) else "")}
