"""Results read as mappings and as attributes."""

from typing import Any

import pytest

from balancer.outcome import Usage
from balancer.results import Attempt, ChatChunk, ChatFailed, ChatResult, first_choice, first_message, text_of


def test_a_result_is_a_mapping_of_its_attributes() -> None:
    result = ChatResult(
        success=True, content="Hello", endpoint="GPU-1", usage=Usage(1, 2), attempts=(Attempt("GPU-1", None, 0.1),)
    )
    assert result["success"] is result.success is True
    assert result["content"] == result.content == "Hello"
    assert dict(result)["endpoint"] == "GPU-1"
    assert len(result) == len(list(result)) == len(dict(result))
    assert {"success", "content", "error", "endpoint", "model", "usage", "cost", "latency", "attempts", "raw"} <= set(result)
    assert result.get("error") is None
    assert result["attempts"][0]["endpoint"] == "GPU-1"


@pytest.mark.parametrize("name", ["nothing", "message", "get", "__class__"])
def test_what_is_no_field_is_no_key(name: str) -> None:
    result = ChatResult(success=False)
    assert name not in result
    with pytest.raises(KeyError):
        result[name]


def test_equal_fields_make_equal_results() -> None:
    assert Attempt("a", None, 1.0) == {"endpoint": "a", "error": None, "time": 1.0} == Attempt("a", None, 1.0)
    assert ChatChunk("a", "e") != ChatChunk("b", "e")


def test_a_message_has_its_tool_calls() -> None:
    raw = {"choices": [{"message": {"content": None, "tool_calls": [{"id": "1"}]}}]}
    assert ChatResult(success=True, raw=raw).message["tool_calls"] == [{"id": "1"}]
    assert ChatResult(success=False).message == {}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("text", "text"),
        ("", ""),
        (None, None),
        (7, None),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        # parts without text, with none, or that are none
        ([{"type": "image"}, {"text": None}, {"text": 3}, "x", {"text": "a"}], "a"),
    ],
)
def test_the_text_of_a_content(content: Any, text: str | None) -> None:
    assert text_of(content) == text


@pytest.mark.parametrize(
    "raw", [None, {}, {"choices": None}, {"choices": []}, {"choices": ["x"]}, {"choices": [{"message": "x"}]}]
)
def test_an_answer_without_a_message_has_an_empty_one(raw: Any) -> None:
    assert first_message(raw) == {}
    assert isinstance(first_choice(raw), dict)


def test_a_failed_stream_says_where_it_failed() -> None:
    attempt = Attempt("a", "refused", 0.1)
    assert ChatFailed("all failed", (attempt,)).attempts == (attempt,)
