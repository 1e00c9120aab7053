"""Anthropic's streams: each event makes chunks, or a fault."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.outcome import FailureKind
from balancer.providers import Call, StreamFault
from balancer.providers.anthropic.adapter import AnthropicAdapter

ADAPTER = AnthropicAdapter()
CALL = Call("/messages", b"{}", "m", stream=True)


def error(type_: str, message: str = "boom", error_code: str | None = None) -> bytes:
    details = {"details": {"error_code": error_code}} if error_code else {}
    return orjson.dumps({"type": "error", "error": {"type": type_, "message": message, **details}})


def said(*events: Any) -> list[Any]:
    """Return the chunks that the events make: their deltas, finish reasons and tokens."""
    stream = ADAPTER.translation(CALL)
    chunks = [chunk for event in events for chunk in stream.take(orjson.dumps(event))]
    assert stream.ended == (events[-1] == STOP)
    chunks += stream.close()
    return [_gist(chunk) for chunk in chunks]


def _gist(chunk: Any) -> Any:
    if "usage" in chunk:
        assert chunk["choices"] == []
        return chunk["usage"]["prompt_tokens"], chunk["usage"]["completion_tokens"]
    choice = chunk["choices"][0]
    return choice["finish_reason"] or choice["delta"]


def block(index: int, content_block: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content_block},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def ending(reason: str | None, **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


START = {"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 3, "output_tokens": 1}}}
STOP = {"type": "message_stop"}
ROLE = {"role": "assistant", "content": ""}


def test_a_stream_of_thoughts_and_words() -> None:
    signature = {"type": "signature_delta", "signature": "s"}
    thinking = block(
        0,
        {"type": "thinking", "thinking": ""},
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "signature_delta"},
        signature,
    )
    hidden = block(2, {"type": "redacted_thinking", "data": "x"})
    text = block(
        1, {"type": "text", "text": "a"}, {"type": "text_delta", "text": "b"}, {"type": "citations_delta", "citation": {}}
    )
    end = ending("end_turn", input_tokens=None, output_tokens=9)
    assert said(START, {"type": "ping"}, *thinking, {"type": "new"}, *hidden, *text, end, STOP) == [
        ROLE,
        {"reasoning_content": "hm"},
        {"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "s"}]},
        {"thinking_blocks": [{"type": "redacted_thinking", "data": "x"}]},
        {"content": "a"},
        {"content": "b"},
        "stop",
        (3, 9),  # what is null is as it was at the start; the last count is the whole
    ]


def test_citations_end_the_passage_that_they_belong_to() -> None:
    quote = {"type": "char_location", "cited_text": "q", "document_index": 0}
    plain = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "So "})
    passage = {"type": "text_delta", "text": "it is"}
    based = block(1, {"type": "text", "text": "", "citations": []}, passage, {"type": "citations_delta", "citation": quote})
    after = block(2, {"type": "text", "text": ""}, {"type": "text_delta", "text": "."})
    assert said(START, *plain, *based, *after, ending("end_turn"), STOP)[1:-2] == [
        {"content": "So "},
        {"citations": []},  # the passage without any has ended
        {"content": "it is"},
        {"citations": [{"start_index": 3, "end_index": 8, **quote}]},
        {"content": "."},
    ]


def test_a_streamed_call_without_arguments_has_an_empty_object() -> None:
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    piece = {"type": "input_json_delta", "partial_json": ""}
    chunks = said(START, *block(1, use, piece), *block(2, {**use, "id": "u", "input": {"a": 1}}), ending("tool_use"), STOP)
    assert [chunk["tool_calls"][0] for chunk in chunks[1:-2]] == [
        {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": "{}"}},
        {"index": 1, "id": "u", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 1, "function": {"arguments": '{"a":1}'}},
    ]
    assert chunks[-2:] == ["tool_calls", (3, 1)]


def test_the_end_and_the_tokens_are_reported_once() -> None:
    assert said(START, ending("max_tokens"), ending("end_turn", output_tokens=8), STOP) == [ROLE, "length", (3, 8)]
    assert said(START, STOP) == [ROLE, "stop", (3, 1)]  # no reason was given
    assert said(START, ending("end_turn", output_tokens=8)) == [ROLE, "stop", (3, 8)]  # the last event never came
    assert said(START, ending(None)) == [ROLE]  # broken off before the end


def test_chunks_of_a_stream_name_the_message() -> None:
    (chunk,) = ADAPTER.translation(CALL).take(orjson.dumps(START))
    assert (chunk["id"], chunk["model"], chunk["object"]) == ("msg_1", "claude", "chat.completion.chunk")


@pytest.mark.parametrize(
    ("event", "kind", "message"),
    [
        (error("overloaded_error", "Overloaded"), FailureKind.OVERLOADED, "Overloaded"),
        (error("rate_limit_error"), FailureKind.RATE_LIMIT, "boom"),
        (error("rate_limit_error", "boom", "enforced_spend_limit_reached"), FailureKind.QUOTA, "boom"),
        (error("timeout_error"), FailureKind.TIMEOUT, "boom"),
        (error("invalid_request_error", "Output blocked by content filtering policy"), FailureKind.CONTENT_FILTER, "blocked"),
        (error("yet_to_be_invented"), FailureKind.SERVER, "boom"),
        (b'{"type": "error", "error": "plain"}', FailureKind.SERVER, "plain"),
        (b"<html>", FailureKind.INVALID_RESPONSE, "not JSON"),
        (b"[1]", FailureKind.INVALID_RESPONSE, "no JSON object"),
        (b'{"type": "message_start"}', FailureKind.INVALID_RESPONSE, "`message`"),
        (b'{"type": "content_block_start"}', FailureKind.INVALID_RESPONSE, "`content_block`"),
        (
            b'{"type": "content_block_start", "index": [], "content_block": {"type": "tool_use"}}',
            FailureKind.INVALID_RESPONSE,
            "`index`",
        ),
        (
            b'{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ["secret"]}}',
            FailureKind.INVALID_RESPONSE,
            "`delta.text`",
        ),
        (b'{"type": "message_delta"}', FailureKind.INVALID_RESPONSE, "`delta`"),
    ],
)
def test_trouble_in_a_stream(event: bytes, kind: FailureKind, message: str) -> None:
    with pytest.raises(StreamFault) as caught:
        ADAPTER.translation(CALL).take(event)
    assert caught.value.failure.kind is kind
    assert message in caught.value.failure.message and "secret" not in caught.value.failure.message


def test_arguments_for_a_block_that_is_no_call_are_passed_over() -> None:
    piece = {"type": "input_json_delta", "partial_json": '{"query"'}
    assert said(START, *block(0, {"type": "server_tool_use", "id": "s"}, piece), STOP) == [ROLE, "stop", (3, 1)]


def test_a_streamed_call_nested_too_deeply_is_a_fault() -> None:
    stream = ADAPTER.translation(CALL)
    deep = b"[" * 300 + b"]" * 300
    use = b'{"type":"tool_use","id":"t","name":"f","input":{"a":%b}}' % deep
    stream.take(b'{"type":"content_block_start","index":0,"content_block":%b}' % use)
    with pytest.raises(StreamFault, match=r"content_block\.input"):
        stream.take(b'{"type":"content_block_stop","index":0}')


KINDS = [
    "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
    "tool_use", "text", "text_delta", "thinking_delta", "input_json_delta", "error", "end_turn",
]  # fmt: skip
MEMBERS = [
    "message", "content_block", "delta", "index", "usage", "id", "name", "input", "text", "thinking", "partial_json",
    "stop_reason", "input_tokens", "error",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.integers(-2, 2**53) | st.sampled_from(KINDS) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", *MEMBERS]), inner, max_size=5),
    max_leaves=10,
)
EVENT = st.fixed_dictionaries({"type": st.sampled_from(KINDS)}, optional={name: JSON for name in MEMBERS})


@settings(max_examples=300, deadline=None, derandomize=True)
@given(events=st.lists((EVENT | JSON).map(orjson.dumps) | st.binary(max_size=20), max_size=6))
def test_whatever_is_streamed_makes_chunks_or_a_fault(events: list[bytes]) -> None:
    stream = ADAPTER.translation(CALL)
    chunks: list[Any] = []
    try:
        for event in events:
            chunks += stream.take(event)
    except StreamFault as exc:
        assert exc.failure.message
    chunks += stream.close()
    orjson.dumps(chunks)
    assert sum("usage" in chunk for chunk in chunks) <= 1
