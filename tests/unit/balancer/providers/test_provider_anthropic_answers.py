"""Anthropic's answers and errors: what to make of whatever comes back."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.outcome import NO_USAGE, FailureKind, Usage
from balancer.providers import Call
from balancer.providers.anthropic.adapter import AnthropicAdapter
from balancer.providers.openai.adapter import usage_of

ADAPTER = AnthropicAdapter()
CALL = Call("/messages", b"{}", "m")


def answer(**members: Any) -> bytes:
    usage = {"input_tokens": 3, "output_tokens": 4}
    plain = {"id": "msg_1", "type": "message", "model": "claude", "content": [{"type": "text", "text": "ab"}], "usage": usage}
    return orjson.dumps({**plain, "stop_reason": "end_turn", **members})


def choice_of(**members: Any) -> dict[str, Any]:
    read = ADAPTER.answer(CALL, 200, {}, answer(**members))
    assert read.failure is None and read.parsed is not None
    assert orjson.loads(read.body) == read.parsed
    return read.parsed["choices"][0]


def test_blocks_are_put_together() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Well, ", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "thinking", "thinking": "well.", "signature": "s"},
        {"type": "text", "text": "a"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "text", "text": "b"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"b": "ü", "a": None}},
    ]
    assert choice_of(content=blocks, stop_reason="tool_use") == {
        "index": 0,
        "logprobs": None,
        "finish_reason": "tool_calls",
        "message": {
            "role": "assistant",
            "content": "ab",
            "refusal": None,
            "reasoning_content": "Well, well.",
            "thinking_blocks": blocks[:3],
            "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"b":"ü","a":null}'}}],
        },
    }


def test_citations_name_the_passages_of_the_text() -> None:
    quote = {"type": "char_location", "cited_text": "q", "document_index": 0}
    blocks = [
        {"type": "text", "text": "So "},
        {"type": "text", "text": "it is", "citations": [quote]},
        {"type": "text", "text": ".", "citations": [None, 5]},
    ]
    message = choice_of(content=blocks)["message"]
    assert (message["content"], message["citations"]) == ("So it is.", [{"start_index": 3, "end_index": 8, **quote}])


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("yet_to_be_invented", "stop"),
        (None, "stop"),
        ([], "stop"),
    ],
)
def test_why_an_answer_ends(stop_reason: Any, finish_reason: str) -> None:
    assert choice_of(stop_reason=stop_reason)["finish_reason"] == finish_reason


def test_a_refusal_says_why_if_the_service_does() -> None:
    choice = choice_of(content=[], stop_reason="refusal", stop_details={"type": "refusal", "explanation": "No."})
    assert (choice["message"]["content"], choice["message"]["refusal"]) == ("", "No.")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, NO_USAGE),
        ([], NO_USAGE),
        ({"input_tokens": None, "output_tokens": "4"}, NO_USAGE),
        ({"input_tokens": -1, "output_tokens": 2**63}, NO_USAGE),
        (
            {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": None, "output_tokens_details": None},
            Usage(3, 4),
        ),
        (
            {
                "input_tokens": 3,
                "cache_creation_input_tokens": 10,
                "cache_read_input_tokens": 100,
                "output_tokens": 9,
                "output_tokens_details": {"thinking_tokens": 5},
            },
            Usage(113, 9, cached=100, reasoning=5, cache_write=10),
        ),
        (
            {
                "input_tokens": 3,
                "cache_creation_input_tokens": 10,
                "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 6},
                "output_tokens": 9,
            },
            Usage(13, 9, cache_write=10, cache_write_hour=6),
        ),
    ],
)
def test_usage(usage: Any, expected: Usage) -> None:
    read = ADAPTER.answer(CALL, 200, {}, answer(usage=usage))
    assert read.usage == expected
    assert read.parsed is not None and usage_of(read.parsed["usage"]) == expected


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (answer(content=None), "without `content`"),
        (answer(id=7), "without `id`"),
        (answer(content=["secret"]), "without `content[0].type`"),
        (answer(content=[{"type": "text", "text": ["secret"]}]), "without `content[0].text`"),
        (answer(content=[{"type": "tool_use", "id": "t", "name": "f", "input": "secret"}]), "without `content[0].input`"),
        (answer(content=[{"type": "tool_use", "id": "t", "input": {}}]), "without `content[0].name`"),
        (b'{"type": "error", "error": {"type": "api_error", "message": "boom"}}', "boom"),
        (
            b'{"id":"m","content":[{"type":"tool_use","id":"t","name":"f","input":{"a":%b}}]}' % (b"[" * 300 + b"]" * 300),
            "content",
        ),
        (b"[1]", "no object"),
        (b"", "empty"),
    ],
)
def test_a_200_that_is_no_answer_may_be_tried_again(body: bytes, said: str) -> None:
    read = ADAPTER.answer(CALL, 200, {}, body)
    assert read.failure is not None and read.body == b""
    assert (read.failure.kind, read.failure.retryable) == (FailureKind.INVALID_RESPONSE, True)
    assert said in read.failure.message and "secret" not in read.failure.message


def error(type_: str, message: str = "boom", error_code: str | None = None) -> bytes:
    details = {"details": {"error_code": error_code}} if error_code else {}
    return orjson.dumps({"type": "error", "error": {"type": type_, "message": message, **details}, "request_id": "r"})


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, error("invalid_request_error"), FailureKind.BAD_REQUEST),
        (400, error("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"), FailureKind.CONTEXT_TOO_LONG),
        (
            400,
            error("invalid_request_error", "input length and `max_tokens` exceed context limit: 9 + 9 > 10"),
            FailureKind.CONTEXT_TOO_LONG,
        ),
        (400, error("invalid_request_error", "Your credit balance is too low to use the API"), FailureKind.QUOTA),
        (400, error("invalid_request_error", "You have reached your specified API usage limits"), FailureKind.QUOTA),
        (400, error("invalid_request_error", "boom", "enforced_spend_limit_reached"), FailureKind.QUOTA),
        (400, error("invalid_request_error", "Output blocked by content filtering policy"), FailureKind.CONTENT_FILTER),
        (401, error("authentication_error"), FailureKind.AUTHENTICATION),
        (402, error("billing_error"), FailureKind.QUOTA),
        (403, error("permission_error"), FailureKind.AUTHENTICATION),
        (404, error("not_found_error"), FailureKind.MODEL_NOT_FOUND),
        (409, error("conflict_error"), FailureKind.SERVER),
        (413, error("request_too_large"), FailureKind.CONTEXT_TOO_LONG),
        (413, b"<html>Request Entity Too Large</html>", FailureKind.CONTEXT_TOO_LONG),  # a proxy's
        (429, error("rate_limit_error"), FailureKind.RATE_LIMIT),
        (429, error("rate_limit_error", "prompt is too long to be quick"), FailureKind.RATE_LIMIT),
        (429, error("rate_limit_error", "boom", "ramp_limit_exceeded"), FailureKind.RATE_LIMIT),  # to be tried again later
        (429, error("rate_limit_error", "boom", "contract_spend_limit_reached"), FailureKind.QUOTA),
        (500, error("api_error"), FailureKind.SERVER),
        (504, error("timeout_error"), FailureKind.TIMEOUT),
        (529, error("overloaded_error"), FailureKind.OVERLOADED),
        (503, error("yet_to_be_invented"), FailureKind.OVERLOADED),
        (429, b'{"error": {"type": "insufficient_quota"}}', FailureKind.QUOTA),  # OpenAI's shape
        (502, b"<html>Bad Gateway</html>", FailureKind.SERVER),
        (500, b'{"error": {"details": [1], "type": {"a": 1}}}', FailureKind.SERVER),
    ],
)
def test_what_an_error_means(status: int, body: bytes, kind: FailureKind) -> None:
    read = ADAPTER.answer(CALL, status, {"retry-after": "7"}, body)
    assert read.failure is not None
    assert (read.failure.kind, read.failure.status, read.failure.retry_after) == (kind, status, 7.0)


def test_an_error_body_becomes_openais() -> None:
    read = ADAPTER.answer(CALL, 529, {}, error("overloaded_error"))
    assert orjson.loads(read.body) == {
        "error": {"message": "boom", "type": "overloaded_error", "param": None, "code": "server_overloaded"}
    }
    assert ADAPTER.answer(CALL, 502, {}, b"<html>").body == b""


MEMBERS = [
    "type", "error", "message", "content", "id", "text", "thinking", "tool_use", "name", "input", "usage", "input_tokens",
    "index",    "delta", "details", "error_code", "stop_reason", "partial_json", "content_block", "stop_details", "explanation",
]  # fmt: skip
KINDS = [
    "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
    "tool_use",    "text", "text_delta", "thinking_delta", "input_json_delta", "error", "invalid_request_error", "end_turn",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**53) | st.sampled_from(KINDS) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(status=st.just(200) | st.integers(100, 599), body=st.binary(max_size=40) | JSON.map(orjson.dumps))
def test_whatever_comes_back_has_a_meaning(status: int, body: bytes) -> None:
    read = ADAPTER.answer(CALL, status, {}, body)
    assert (read.failure is None) == (status == 200 and bool(read.body))
    assert b"\n" not in read.body
    if read.body:
        assert isinstance(orjson.loads(read.body), dict)
