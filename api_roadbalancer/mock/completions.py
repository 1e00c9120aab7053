"""Chat requests read, and chat completions written, in OpenAI's format. The prompt alone decides the text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

__all__ = [
    "CHARACTERS_PER_TOKEN",
    "BadChatRequest",
    "ChatRequest",
    "answer_words",
    "completion",
    "filled_up",
    "model_of",
    "parse_chat",
    "prompt_text",
    "request_key",
    "stream_events",
    "token_limit",
]

QUOTED_WORDS = 8
QUOTED_CHARACTERS = 200  # a word can be long
CHARACTERS_PER_TOKEN = 4
CHAT = "/chat/completions"


class BadChatRequest(ValueError):
    """`param` is the field at fault, None for the body as a whole."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ChatRequest(NamedTuple):
    model: str  # empty: none was asked for
    words: list[str]  # the answer
    finish_reason: str
    prompt_tokens: int
    stream: bool
    include_usage: bool
    cached_tokens: int | None = None  # None: the server has no cache
    kind: str = CHAT  # the path below /v1
    inputs: tuple[str, ...] = ()  # of other kinds
    options: Mapping[str, Any] = MappingProxyType({})  # of other kinds

    @property
    def usage(self) -> dict[str, Any]:
        prompt, answer = self.prompt_tokens, len(self.words)
        usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
        return usage if self.cached_tokens is None else usage | {"prompt_tokens_details": {"cached_tokens": self.cached_tokens}}


def request_key(payload: object, body: bytes) -> str:
    """Which request this is, over all attempts: `metadata.line`, else `user`, else the SHA-1 of the body."""
    if isinstance(payload, dict):
        metadata = payload.get("metadata")
        if isinstance(metadata, dict) and "line" in metadata:
            return str(metadata["line"])
        user = payload.get("user")
        if isinstance(user, str):
            return user
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()


def parse_chat(payload: object) -> ChatRequest:
    if not isinstance(payload, dict):
        raise BadChatRequest("The body must be a JSON object.")
    messages = payload.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadChatRequest("'messages' must be a list with at least one message.", "messages")
    prompt, characters = _read_messages(messages)
    words, finish_reason = answer_words(prompt, token_limit(payload))
    options = payload.get("stream_options")
    return ChatRequest(
        model=model_of(payload),
        words=words,
        finish_reason=finish_reason,
        prompt_tokens=max(1, characters // CHARACTERS_PER_TOKEN),
        stream=payload.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def prompt_text(payload: Any) -> str:
    """All of a prompt, as a cache sees it."""
    return "".join(f"{message['role']}: {_text(message.get('content'))}" for message in payload["messages"])


def completion(chat: ChatRequest, number: int, created: int) -> bytes:
    message = {"role": "assistant", "content": " ".join(chat.words), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": chat.finish_reason}
    return orjson.dumps(
        {
            "id": f"chatcmpl-{number:012x}",
            "object": "chat.completion",
            "created": created,
            "model": chat.model,
            "choices": [choice],
            "usage": chat.usage,
        }
    )


def filled_up(chat: ChatRequest, size: int) -> ChatRequest:
    """The same answer, with words of filling until its text has `size` bytes."""
    missing = size - sum(len(word) + 1 for word in chat.words)
    return chat._replace(words=[*chat.words, *["filling"] * (missing // len("filling ") + 1)]) if missing > 0 else chat


def stream_events(chat: ChatRequest, number: int, created: int) -> list[bytes]:
    """The answer as server-sent events, one word a chunk, with the closing [DONE]."""
    base: dict[str, Any] = {
        "id": f"chatcmpl-{number:012x}",
        "object": "chat.completion.chunk",
        "created": created,
        "model": chat.model,
    }
    if chat.include_usage:
        base["usage"] = None
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word if place == 0 else f" {word}"} for place, word in enumerate(chat.words)]
    events = [_event(base | {"choices": [_chunk_choice(delta)]}) for delta in deltas]
    events.append(_event(base | {"choices": [_chunk_choice({}, chat.finish_reason)]}))
    if chat.include_usage:
        events.append(_event(base | {"choices": [], "usage": chat.usage}))
    events.append(b"data: [DONE]\n\n")
    return events


def _read_messages(messages: list[Any]) -> tuple[str, int]:
    """The last user message's text (else the last message's), and the characters of all."""
    prompt: str | None = None
    text = ""
    characters = 0
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadChatRequest("Each message must be an object with a role.", f"messages[{place}]")
        text = _text(message.get("content"))
        characters += len(text)
        if message["role"] == "user":
            prompt = text
    return text if prompt is None else prompt, characters


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return " ".join(text for text in texts if isinstance(text, str))


def answer_words(prompt: str, limit: int | None) -> tuple[list[str], str]:
    quoted = prompt[:QUOTED_CHARACTERS].split(None, QUOTED_WORDS)[:QUOTED_WORDS]
    words = ["Simulated", "answer", "to:", *(quoted or ["(nothing)"])]
    words[-1] = words[-1].rstrip() + "."
    if limit is not None and limit < len(words):
        return words[:limit], "length"
    return words, "stop"


def token_limit(payload: dict[str, Any]) -> int | None:
    for param in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        limit = payload.get(param)
        if limit is None:
            continue
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise BadChatRequest(f"'{param}' must be a whole number, 1 or more.", param)
        return limit
    return None


def model_of(payload: dict[str, Any]) -> str:
    model = payload.get("model") or ""
    if not isinstance(model, str):
        raise BadChatRequest("'model' must be a string.", "model")
    return model


def _chunk_choice(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, object]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
