"""Whatever a request holds, Anthropic is sent all of it or it is refused by name."""

from itertools import pairwise
from typing import Any

import orjson
from anthropic_calls import ADAPTER, DATA, HI, OLD, TOOL, calling, part, sent
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.providers import RequestRefused


def test_the_request_is_left_as_it_was() -> None:
    body = {"model": "m", "messages": [*HI, *HI, calling(("c", "{}"))], "tools": [TOOL], "temperature": 0.5}
    before = orjson.dumps(body)
    ADAPTER.call(OLD, "/chat/completions", body)
    assert orjson.dumps(body) == before


WORDS = [
    "role", "user", "assistant", "tool", "system", "content", "type", "text", "image_url", "url", "file", "file_data", "document",
    "document_url", "input_audio", "tool_calls", "tool_call_id", "id", "function", "name", "arguments", "parameters", "{}",
    "json_schema", "schema", "auto", "data:image/png;base64,AA", "data:application/pdf;base64,AA", "user_id", "refusal",
]  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**65) | st.floats() | st.sampled_from(WORDS) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=12,
)
RICH = {
    "model": "m",
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        *part(type="image_url", image_url={"url": "data:image/png;base64,AA"}),
        {
            "role": "user",
            "content": [{"type": "file", "file": {"file_data": f"data:application/pdf;base64,{DATA}", "filename": "a"}}],
        },
        {"role": "user", "content": [{"type": "document", "document_url": {"url": "https://a/b.pdf"}}]},
        {**calling(("c", "{}")), "refusal": "No."},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}}
    ],
    "tool_choice": TOOL,
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"schema": {}}},
    "thinking": {"type": "adaptive"},
    "metadata": {"user_id": "u"},
    "stop": ["a"],
    "max_tokens": 5,
    "max_completion_tokens": 6,
    "n": 1,
    "reasoning_effort": "low",
    "service_tier": "auto",
    "stream": True,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "user": "u",
    "safety_identifier": "s",
}
"""A request that has something of everything."""


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, each in inner for place in places(each, (*here, key)))]


def with_other(value: Any, place: tuple[Any, ...], other: Any) -> Any:
    if not place:
        return other
    copied = value.copy()
    copied[place[0]] = with_other(value[place[0]], place[1:], other)
    return copied


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(place=st.sampled_from(places(RICH)[1:]), other=ANYTHING)
def test_anything_anywhere_is_sent_or_refused_by_its_place(place: tuple[Any, ...], other: Any) -> None:
    body = with_other(RICH, place, other)
    try:
        call = ADAPTER.call(OLD, "/chat/completions", body)
    except RequestRefused as exc:
        field = exc.param.partition("[")[0].partition(".")[0]
        assert field == place[0] or (field == "tool_choice" and not body["tools"])
        return
    made = orjson.loads(call.body)
    assert made["messages"] and made["max_tokens"] > 0 and made["model"] == call.model
    assert all(one["role"] != other["role"] for one, other in pairwise(made["messages"]))
    assert all(message["content"] for message in made["messages"])


def test_the_request_with_something_of_everything_is_sent() -> None:
    assert sent(OLD, **RICH)["tool_choice"] == {"type": "tool", "name": "f", "disable_parallel_tool_use": True}
