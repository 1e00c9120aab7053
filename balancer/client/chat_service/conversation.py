"""Builds one chat request from a conversation's context (pure)."""

from collections.abc import Sequence
from typing import Any

__all__ = ["history_messages", "messages_of", "system_prompt"]

_SPEAKERS = {
    "user": "user", "human": "user", "사용자": "user",
    "assistant": "assistant", "ai": "assistant", "bot": "assistant", "어시스턴트": "assistant",
}  # fmt: skip
"""What may stand before the colon of a line of history."""


def system_prompt(
    system_message: str | None, role: str | None, memory_context: Sequence[str], instructions: str | None
) -> str | None:
    """Return the system message, the role, what is remembered and the instructions, in this order; None without any."""
    memory = [line.strip() for line in memory_context if line.strip()]
    blocks = [
        (system_message or "").strip(),
        f"Your role: {role.strip()}" if role and role.strip() else "",
        "What you remember:\n" + "\n".join(f"- {line}" for line in memory) if memory else "",
        f"Instructions: {instructions.strip()}" if instructions and instructions.strip() else "",
    ]
    return "\n\n".join(block for block in blocks if block) or None


def history_messages(conversation_history: Sequence[str]) -> list[dict[str, Any]]:
    """Return the turns of a conversation.

    A line may say who speaks (`user: …`, `assistant: …`); one that doesn't is taken for the other's answer to the line before,
    and the first for the user's.
    """
    messages: list[dict[str, Any]] = []
    for line in conversation_history:
        if not line.strip():
            continue
        before, colon, after = line.partition(":")
        speaker = _SPEAKERS.get(before.strip().lower()) if colon else None
        if speaker is None:
            speaker = "assistant" if messages and messages[-1]["role"] == "user" else "user"
            after = line
        messages.append({"role": speaker, "content": after.strip()})
    return messages


def messages_of(system: str | None, history: Sequence[str], user_message: str) -> list[dict[str, Any]]:
    """Return the messages of a chat request."""
    first = [{"role": "system", "content": system}] if system else []
    return [*first, *history_messages(history), {"role": "user", "content": user_message}]
