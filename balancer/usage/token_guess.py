"""Estimates the usage of a stream that ended without reporting it."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from balancer.outcome import Usage
from balancer.usage.token_estimate import tokens_in

__all__ = ["CHARACTERS_PER_TOKEN", "MEDIA_TOKENS", "characters_in", "guessed_usage", "prompt_tokens"]

CHARACTERS_PER_TOKEN = 4
"""OpenAI's rule of thumb for English text."""
MEDIA_TOKENS = 1000
"""For an image, a sound or a document of whatever size. Images have 85 to 1,600 tokens at the providers."""
_MEDIA = {"image_url", "input_image", "image", "input_audio", "file", "input_file", "document", "video_url"}
_SCHEMAS = ("tools", "functions", "response_format")
_PROMPT_FIELDS = ("messages", "prompt", "input", "query", "queries", "documents", "text_1", "text_2")
_LABELS = {"role", "type", "id", "tool_call_id", "index"}


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Guess the tokens of a request: all its text, that of its tools and schemas too, and a fixed number for each medium."""
    tokens = sum(tokens_in(orjson.dumps(body[name]).decode()) for name in _SCHEMAS if body.get(name))
    media = 0
    for text in _texts(body.get(name) for name in _PROMPT_FIELDS):
        if text is None:
            media += 1
        else:
            tokens += tokens_in(text)
    return max(1, math.ceil(tokens)) + media * MEDIA_TOKENS


def guessed_usage(body: Mapping[str, Any], known: Usage, chunks: int, characters: int) -> Usage:
    """Guess what a stream has used of which `chunks` chunks with `characters` characters of text have come.

    What is `known` so far holds, but for an answer that was not counted to its end: an endpoint sends at least one token in each
    chunk.
    """
    completion = max(known.completion, chunks, characters // CHARACTERS_PER_TOKEN)
    return Usage(
        known.prompt or prompt_tokens(body),
        completion,
        known.cached,
        known.reasoning,
        known.cache_write,
        known.cache_write_hour,
    )


def characters_in(delta: Mapping[str, Any]) -> int:
    """Count what one chunk says: its text, its reasoning, the names and arguments of its tools."""
    pieces = (delta.get(name) for name in ("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call"))
    return sum(len(text) for text in _texts(pieces) if text)


def _texts(values: Iterable[Any]) -> Iterator[str | None]:
    """Yield every text within, without names of fields and what is no text of anybody's; None for a medium."""
    left = list(values)
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            if any(value.get("type") == kind for kind in _MEDIA):
                yield None
            else:
                left.extend(part for name, part in value.items() if name not in _LABELS)
        elif isinstance(value, list | tuple):
            left.extend(value)
