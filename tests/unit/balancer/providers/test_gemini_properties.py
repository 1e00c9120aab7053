"""Whatever is asked or answered, Gemini's adapter raises nothing and loses nothing."""

from typing import Any

import orjson
from gemini_calls import ADAPTER, CALL, answer, read
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from balancer.endpoint import Endpoint
from balancer.providers import RequestRefused, StreamFault

# Anything that JSON can hold, with the words of the formats mixed in, so that it gets further than the first check.
WORDS = [
    "type", "text", "content", "role", "user", "assistant", "tool", "function", "name", "id", "image_url", "url", "file",
    "file_data", "data:image/png;base64,AA", "arguments", "{}", "candidates", "parts", "functionCall", "args", "finishReason",
    "STOP", "index", "error", "details", "violations", "message", "promptFeedback", "blockReason", "usageMetadata",
]  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.sampled_from(WORDS) | st.text()
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner, max_size=5),
    max_leaves=12,
)
PARTS = st.dictionaries(st.sampled_from(["text", "image_url", "file", "document_url", "input_audio"]), JSON, max_size=3)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]) | JSON},
    optional={
        "content": st.text()
        | st.lists(st.builds(lambda part, kind: {**part, "type": kind}, PARTS, st.sampled_from(WORDS)))
        | JSON,
        "tool_calls": st.lists(st.fixed_dictionaries({"id": JSON, "function": JSON}), max_size=2) | JSON,
        "tool_call_id": JSON,
        "extra_content": JSON,
    },
)
REQUESTS = st.fixed_dictionaries(
    {"model": st.just("gemini-3.8-flash") | JSON, "messages": st.lists(MESSAGES, min_size=1, max_size=3) | JSON},
    optional={
        name: JSON for name in ("tools", "tool_choice", "response_format", "stop", "reasoning_effort", "max_tokens", "n", "x")
    },
)
CANDIDATES = st.fixed_dictionaries(
    {}, optional={"content": st.fixed_dictionaries({"parts": st.lists(JSON) | JSON}), "finishReason": JSON, "index": JSON}
)
ANSWERS = JSON | st.fixed_dictionaries(
    {"candidates": st.lists(CANDIDATES, max_size=3) | JSON},
    optional={name: JSON for name in ("usageMetadata", "promptFeedback", "error", "modelVersion", "responseId")},
)


@settings(deadline=None)
@given(REQUESTS)
def test_whatever_is_asked_is_sent_or_refused(body: dict[str, Any]) -> None:
    endpoint = Endpoint("http://h/v1beta", max_tokens=100)
    try:
        call = ADAPTER.call(endpoint, "/chat/completions", body)
    except RequestRefused as exc:
        assert exc.param and exc.reason
    else:
        assert orjson.loads(call.body)["contents"]
        assert call.path.count("/") == 2


@settings(deadline=None)
@given(ANSWERS, st.sampled_from([200, 400, 429, 503]))
def test_whatever_is_answered_is_a_completion_or_a_failure(body: Any, status: int) -> None:
    found = answer(orjson.dumps(body, default=str), status)
    if found.failure is None:
        ChatCompletion.model_validate(orjson.loads(found.body))
        assert orjson.loads(found.body) == found.parsed
    else:
        assert found.failure.message


@settings(deadline=None)
@given(st.lists(ANSWERS, max_size=4))
def test_whatever_is_streamed_is_chunks_or_a_fault(events: list[Any]) -> None:
    try:
        chunks = read(ADAPTER.translation(CALL), *events)
    except StreamFault as exc:
        assert exc.failure.message
    else:
        assert sum("usage" in chunk for chunk in chunks) <= 1


@settings(deadline=None)
@given(st.binary())
def test_bytes_that_are_nothing_are_a_failure(body: bytes) -> None:
    assert answer(body).failure is not None
    assert answer(body, 500).failure is not None
    ADAPTER.models(body)
