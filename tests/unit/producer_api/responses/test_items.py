from typing import Any

import pytest

from producer_api.responses.items import as_messages, decode_thinking, encode_thinking

USER: Any = {"role": "user", "content": "Hi"}
THOUGHT: Any = {"type": "thinking", "thinking": "Well.", "signature": "s"}


def call(number: int) -> dict[str, Any]:
    return {"type": "function_call", "call_id": f"c{number}", "name": "f", "arguments": "{}"}


def called(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for number in numbers]


def reasoning(*blocks: Any) -> dict[str, Any]:
    return {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": encode_thinking(list(blocks))}


def test_calls_belong_to_the_assistants_message_before_them() -> None:
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]}
    result = {"type": "function_call_output", "call_id": "c1", "output": "done"}
    assert as_messages([USER, message, call(1), call(2), result, call(3)]) == [
        USER,
        {"role": "assistant", "content": [{"type": "text", "text": "Let me see."}], "tool_calls": called(1, 2)},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
        {"role": "assistant", "content": None, "tool_calls": called(3)},
    ]


def test_thinking_stands_before_what_followed_it() -> None:
    message = {"type": "message", "role": "assistant", "content": "Hello"}
    assert as_messages([USER, reasoning(THOUGHT), message, reasoning(THOUGHT), call(1), call(2)]) == [
        USER,
        {"role": "assistant", "content": "Hello", "thinking_blocks": [THOUGHT]},
        {"role": "assistant", "content": None, "tool_calls": called(1, 2), "thinking_blocks": [THOUGHT]},
    ]


@pytest.mark.parametrize("content", [None, 5, "", "gAAAAA", "rb1.", "rb1.!", "rb1.e30="])
def test_reasoning_that_was_not_returned_here_holds_no_thinking(content: Any) -> None:
    assert decode_thinking({"type": "reasoning", "encrypted_content": content}) == []
