"""Reads the messages that callers of named clients give: texts, dicts, pairs, LangChain's messages."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["request_messages"]

_ROLES = {"human": "user", "ai": "assistant"}
"""LangChain's words for roles, in pairs."""


def request_messages(messages: Any) -> list[dict[str, Any]]:
    """Return a conversation as OpenAI's format has it. Raises TypeError for what is no message."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if not isinstance(messages, Sequence) or isinstance(messages, bytes):
        messages = getattr(messages, "messages", [messages])  # a prompt value of LangChain's, or a single message
    return [_message(each, place) for place, each in enumerate(messages)]


def _message(message: Any, place: int) -> dict[str, Any]:
    if isinstance(message, Mapping):
        return dict(message)
    if isinstance(message, str):
        return {"role": "user", "content": message}
    if isinstance(message, tuple) and len(message) == 2:
        role, content = message
        return {"role": _ROLES.get(role, role), "content": content}
    if hasattr(message, "type") and hasattr(message, "content"):
        from langchain_core.messages import convert_to_openai_messages

        converted = convert_to_openai_messages([message])
        return dict(converted[0] if isinstance(converted, list) else converted)
    kind = type(message).__name__
    raise TypeError(f"messages[{place}] is a {kind}: give a dict, a (role, text) pair, a text or a message of LangChain")
