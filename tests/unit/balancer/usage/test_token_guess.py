"""Tokens that no endpoint has reported."""

from typing import Any

import pytest

from balancer.outcome import NO_USAGE, Usage
from balancer.usage.token_guess import characters_in, guessed_usage, prompt_tokens

CALL = {"id": "c" * 40, "type": "function", "function": {"name": "find", "arguments": '{"a":1}'}}

PICTURE = {"type": "image_url", "image_url": {"url": "x" * 4000}}


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"messages": user("two words")}, 2),
        ({"messages": user("is it?")}, 3),  # a part of a token is one
        ({"messages": user("")}, 1),  # no request is free
        ({"messages": user(None)}, 1),
        ({"messages": user("two words") + user("two more")}, 4),
        # a picture has a fixed number, whatever its size
        (
            {"messages": user([{"type": "text", "text": "two words"}, {"type": "image_url", "image_url": {"url": "x" * 4000}}])},
            1002,
        ),
        ({"messages": user([{"type": "text", "text": 7}])}, 1),  # no text at all
        ({"messages": [{"role": "tool", "tool_call_id": "c" * 40, "content": "two words"}]}, 2),  # what a tool says
        ({"messages": [{"role": "assistant", "tool_calls": [CALL]}]}, 8),  # what one is asked
        ({"messages": user("two words"), "tools": [{"a": "b"}]}, 12),  # and those of the JSON
    ],
)
def test_a_prompt_has_the_tokens_of_all_its_text(body: dict[str, Any], tokens: int) -> None:
    assert prompt_tokens(body) == tokens


BODY = {"messages": user("word " * 100)}


@pytest.mark.parametrize(
    ("known", "chunks", "characters", "guessed"),
    [
        (NO_USAGE, 3, 8, Usage(100, 3)),  # a chunk has a token at least
        (NO_USAGE, 3, 80, Usage(100, 20)),
        (Usage(70, 1, 50, 0, 9), 3, 8, Usage(70, 3, 50, 0, 9)),  # what is known holds
        (Usage(70, 40), 3, 8, Usage(70, 40)),
    ],
)
def test_what_a_stream_used_that_did_not_come_to_its_end(known: Usage, chunks: int, characters: int, guessed: Usage) -> None:
    assert guessed_usage(BODY, known, chunks, characters) == guessed


@pytest.mark.parametrize(
    ("delta", "characters"),
    [
        ({"role": "assistant", "content": ""}, 0),
        ({"content": "abc"}, 3),
        ({"reasoning_content": "abcd"}, 4),
        ({"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "find", "arguments": "{}"}}]}, 6),
    ],
)
def test_what_a_chunk_says(delta: dict[str, Any], characters: int) -> None:
    assert characters_in(delta) == characters
