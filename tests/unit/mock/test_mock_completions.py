from __future__ import annotations

import hashlib
from typing import Any

import orjson
import pytest

from api_roadbalancer.mock.completions import (
    BadChatRequest,
    completion,
    parse_chat,
    request_key,
    stream_events,
)


def chat_body(prompt: object = "Hello there", **fields: object) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}


def answer_to(payload: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads(completion(parse_chat(payload), 7, 1_700_000_000))
    return answer


def test_the_answer_has_openais_shape() -> None:
    assert answer_to(chat_body()) == {
        "id": "chatcmpl-000000000007",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Simulated answer to: Hello there.",
                    "refusal": None,
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 2, "completion_tokens": 5, "total_tokens": 7},
    }


@pytest.mark.parametrize(
    ("prompt", "quoted"),
    [
        ("one two three four five six seven eight nine", "one two three four five six seven eight."),
        ([{"type": "text", "text": "in"}, {"type": "image_url"}, {"type": "text", "text": "parts"}], "in parts."),
        ("", "(nothing)."),
        (None, "(nothing)."),
        ("x" * 1_000_000, "x" * 200 + "."),  # a word can be long
        ("grüße \n\t 世界", "grüße 世界."),
    ],
)
def test_the_answer_quotes_the_prompts_first_words(prompt: object, quoted: str) -> None:
    content = answer_to(chat_body(prompt))["choices"][0]["message"]["content"]
    assert content == f"Simulated answer to: {quoted}"


def test_the_last_user_message_is_the_prompt_and_all_messages_are_counted() -> None:
    messages = [
        {"role": "system", "content": "s" * 40},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": "last"},
        {"role": "assistant", "content": "prefill"},
    ]
    chat = parse_chat({"messages": messages})
    assert chat.words[-1] == "last."
    assert chat.prompt_tokens == (40 + 5 + 4 + 7) // 4


@pytest.mark.parametrize(
    ("limits", "tokens", "reason"),
    [
        ({"max_tokens": 2}, 2, "length"),
        ({"max_completion_tokens": 1}, 1, "length"),
        ({"max_completion_tokens": 3, "max_tokens": 1}, 3, "length"),  # the newer name counts
        ({"max_tokens": 5}, 5, "stop"),  # just enough
        ({"max_tokens": None}, 5, "stop"),
    ],
)
def test_an_answer_is_cut_at_the_token_limit(limits: dict[str, object], tokens: int, reason: str) -> None:
    answer = answer_to(chat_body(**limits))
    assert len(answer["choices"][0]["message"]["content"].split()) == tokens
    assert answer["usage"]["completion_tokens"] == tokens
    assert answer["choices"][0]["finish_reason"] == reason


@pytest.mark.parametrize(
    ("payload", "param"),
    [
        ([], None),  # not an object
        ({"model": "m"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"content": "no role"}]}, "messages[0]"),
        (chat_body(max_tokens=0), "max_tokens"),
        (chat_body(max_completion_tokens="9"), "max_completion_tokens"),
        (chat_body(model=3), "model"),
    ],
)
def test_a_bad_request_names_the_field_at_fault(payload: object, param: str | None) -> None:
    with pytest.raises(BadChatRequest) as caught:
        parse_chat(payload)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        ({"metadata": {"line": "l-1"}, "user": "u-1"}, "l-1"),
        ({"metadata": {"line": 17}}, "17"),
        ({"metadata": {}, "user": "u-1"}, "u-1"),
        ({"metadata": None, "user": 3}, hashlib.sha1(b"body").hexdigest()),
        ("no object", hashlib.sha1(b"body").hexdigest()),
    ],
)
def test_a_request_is_known_by_its_line_its_user_or_its_body(payload: object, key: str) -> None:
    assert request_key(payload, b"body") == key


@pytest.mark.parametrize("include_usage", [False, True])
def test_the_stream_spells_the_same_answer(include_usage: bool) -> None:
    chat = parse_chat(chat_body(stream=True, stream_options={"include_usage": include_usage}))
    events = stream_events(chat, 7, 1_700_000_000)
    assert events[-1] == b"data: [DONE]\n\n"
    chunks = [orjson.loads(event.removeprefix(b"data: ")) for event in events[:-1]]
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(choice["delta"].get("content", "") for choice in choices)
    assert text == "Simulated answer to: Hello there."
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert {(chunk["id"], chunk["object"]) for chunk in chunks} == {("chatcmpl-000000000007", "chat.completion.chunk")}
    usages = [chunk.get("usage", "absent") for chunk in chunks]
    last = {"prompt_tokens": 2, "completion_tokens": 5, "total_tokens": 7}
    assert usages == ([None] * len(choices) + [last] if include_usage else ["absent"] * len(choices))
