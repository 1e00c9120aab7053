"""Which answers and chunks of OpenAI's format are taken, and as what."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_calls import ADAPTER, CALL, JSON, completion

from balancer.outcome import NO_USAGE, FailureKind, Usage
from balancer.providers import Call, StreamFault
from balancer.providers.openai.answers import count_of


def test_a_good_answer_is_handed_on_to_the_byte() -> None:
    body = completion(usage={"prompt_tokens": 3, "completion_tokens": 4})
    answer = ADAPTER.answer(CALL, 200, {}, body)
    assert (answer.body, answer.failure, answer.usage) == (body, None, Usage(3, 4))


def test_an_answer_over_several_lines_becomes_one() -> None:
    body = b'{\n  "choices": [],\r\n  "text": "a\\nb"\n}\n'
    answer = ADAPTER.answer(CALL, 200, {}, body)
    assert b"\n" not in answer.body and b"\r" not in answer.body
    assert orjson.loads(answer.body) == {"choices": [], "text": "a\nb"}


def test_a_deeply_nested_answer_is_no_trouble() -> None:
    body = b'{\n"choices": [], "a":' + b"[" * 600 + b"]" * 600 + b"}"
    assert ADAPTER.answer(CALL, 200, {}, body).failure is None
    assert ADAPTER.answer(CALL, 400, {}, body).failure is not None


def test_an_error_field_of_null_is_no_error() -> None:
    assert ADAPTER.answer(CALL, 200, {}, completion(error=None)).failure is None


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, NO_USAGE),
        ([], NO_USAGE),
        ({"prompt_tokens": "3", "completion_tokens": None}, NO_USAGE),
        ({"prompt_tokens": -3, "completion_tokens": 1.5}, NO_USAGE),
        ({"prompt_tokens": 2**63, "completion_tokens": 1e30}, NO_USAGE),  # no count, and more than Redis can add up
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 8,
                "prompt_tokens_details": {"cached_tokens": 7},
                "completion_tokens_details": {"reasoning_tokens": 6},
            },
            Usage(9, 8, 7, 6),
        ),
        ({"prompt_tokens": 9, "prompt_tokens_details": None, "completion_tokens_details": 5}, Usage(9)),
    ],
)
def test_usage_is_read_where_it_makes_sense(usage: Any, expected: Usage) -> None:
    assert ADAPTER.answer(CALL, 200, {}, completion(usage=usage)).usage == expected


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"<html><body>Sorry</body></html>", "an HTML page"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (completion()[:-10], "cut off"),
        (b"data: {}", "something else"),
        (b"\xff\xfe", "something else"),
        (b"[1]", "no object"),
        (b"null", "not JSON"),
        (b'"text"', "no object"),
        (b'{"error": {"message": "boom", "code": 500}}', "boom"),
        (b'{"error": "boom"}', "boom"),
        (b'{"error": {}}', "without `choices`"),
        (b'{"ok": true}', "without `choices`"),
    ],
)
def test_a_200_that_is_no_answer_may_be_tried_again(body: bytes, said: str) -> None:
    answer = ADAPTER.answer(CALL, 200, {}, body)
    assert answer.body == b""
    assert answer.failure is not None
    assert (answer.failure.kind, answer.failure.retryable) == (FailureKind.INVALID_RESPONSE, True)
    assert said in answer.failure.message


@pytest.mark.parametrize("body", [completion(text="the secret plan")[:-3], b'["the secret plan"]', b"the secret plan"])
def test_half_a_completion_is_not_quoted(body: bytes) -> None:
    failure = ADAPTER.answer(CALL, 200, {}, body).failure
    assert failure is not None and "secret" not in failure.message


@settings(max_examples=300, deadline=None, derandomize=True)
@given(status=st.integers(100, 599), body=st.binary(max_size=60) | JSON.map(orjson.dumps))
def test_whatever_comes_back_has_a_meaning(status: int, body: bytes) -> None:
    answer = ADAPTER.answer(CALL, status, {}, body)
    assert (answer.failure is None) == (status == 200 and bool(answer.body))
    assert b"\n" not in answer.body
    if answer.body:
        assert isinstance(orjson.loads(answer.body), dict)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (5, "a choice is no object"),
        ({}, "`message`"),
        ({"message": "text"}, "`message`"),
        ({"message": {"content": 5}}, "`message.content`"),
        ({"message": {"content": {"text": "x"}}}, "`message.content`"),
        ({"message": {"tool_calls": {}}}, "`message.tool_calls` is no list"),
        ({"message": {"tool_calls": ["x"]}}, "no object"),
        ({"message": {"tool_calls": [{"id": "x"}]}}, "without `function`"),
        ({"message": {"tool_calls": [{"function": {"name": "x", "arguments": {}}}]}}, "`function.arguments`"),
        ({"message": {"content": "x"}, "finish_reason": 5}, "`finish_reason`"),
    ],
)
def test_an_unreadable_choice_is_no_answer(choice: Any, said: str) -> None:
    failure = ADAPTER.answer(CALL, 200, {}, orjson.dumps({"choices": [choice]})).failure
    assert failure is not None and failure.kind is FailureKind.INVALID_RESPONSE
    assert said in failure.message


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "reasoning": "hm", "odd": [1]},  # vLLM's reasoning, and whatever comes next
        {"content": [{"type": "text", "text": "x"}]},
        {"content": "x", "tool_calls": None},
        {"tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "n", "input": "i"}}]},
    ],
)
def test_unknown_fields_of_an_answer_are_handed_on(message: dict[str, Any]) -> None:
    body = orjson.dumps({"choices": [{"message": message}], "more": {"x": 1}})
    answer = ADAPTER.answer(CALL, 200, {}, body)
    assert (answer.failure, answer.body) == (None, body)


def test_an_older_completion_has_text_in_place_of_a_message() -> None:
    assert ADAPTER.answer(Call("/completions", b"{}", "m"), 200, {}, b'{"choices": [{"text": "x"}]}').failure is None


@pytest.mark.parametrize(
    ("data", "delta"),
    [
        (b'{"choices": [{"delta": {"content": "x"}}]}', {"content": "x"}),
        (b'{"choices": [{"delta": null, "finish_reason": "stop"}]}', {}),
        (b'{"choices": [{"finish_reason": "stop"}]}', {}),
        (b'{"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}}]}', None),
        (b'{"choices": []}', None),
        (b'{"usage": {}}', None),
    ],
)
def test_a_chunk_is_handed_on_so_that_clients_can_read_it(data: bytes, delta: Any) -> None:
    (chunk,) = ADAPTER.translation(CALL).take(data)
    assert isinstance(chunk["choices"], list)
    assert delta is None or chunk["choices"][0]["delta"] == delta


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"null",
        b'{"choices": 5}',
        b'{"choices": [5]}',
        b'{"choices": [{"delta": 5}]}',
        b'{"choices": [{"delta": {"content": 5}}]}',
    ],
)
def test_an_unreadable_chunk_ends_the_stream(data: bytes) -> None:
    with pytest.raises(StreamFault) as fault:
        ADAPTER.translation(CALL).take(data)
    assert fault.value.failure.kind is FailureKind.INVALID_RESPONSE


@pytest.mark.parametrize("count", [True, False, "5", 5.0, None, -1, 2**41, [5]])
def test_what_is_no_count_of_tokens_counts_as_none(count: object) -> None:
    assert count_of({"prompt_tokens": count}, "prompt_tokens") == 0
