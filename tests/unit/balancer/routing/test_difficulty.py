"""How hard a request looks."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.routing.difficulty import Difficulty, DifficultyRules, difficulty, points

EASY, MEDIUM, HARD = Difficulty
TOOL = {"type": "function", "function": {"name": "f"}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


def asks(content: Any = "What is the capital of France?", **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **fields}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # a short question
        (asks(), EASY),
        # the same in parts
        (asks([{"type": "text", "text": "Hello"}]), EASY),
        # a plain answer in JSON is no harder; one after a schema is
        (asks(response_format={"type": "json_object"}), EASY),
        (asks(response_format={"type": "json_schema", "json_schema": {}}), MEDIUM),
        # a page of text, and a book
        (asks("x" * 4_000), MEDIUM),
        (asks("x" * 40_000), MEDIUM),
        # length counts over all messages
        ({"messages": [{"role": "user", "content": "x" * 1_000}] * 4}, MEDIUM),
        # a long conversation
        ({"messages": [{"role": "user", "content": "x"}] * 10}, MEDIUM),
        # code
        (asks("Fix this:\n```python\nprint(1\n```"), MEDIUM),
        # tools, pictures
        (asks(tools=[TOOL]), MEDIUM),
        (asks([{"type": "text", "text": "What is this?"}, IMAGE]), MEDIUM),
        # several signs together
        (asks("```" + "x" * 4_000, tools=[TOOL]), HARD),
        (asks("x" * 40_000, tools=[TOOL]), HARD),
        # reasoning that is asked for
        (asks(reasoning_effort="low"), EASY),
        (asks(reasoning_effort="medium"), MEDIUM),
        (asks(reasoning_effort="high"), HARD),
        (asks(reasoning={"effort": "high"}), HARD),
        # nonsense is easy: whoever gets it will say what is wrong
        ({}, EASY),
        ({"messages": "hello"}, EASY),
        ({"messages": [None, {"content": 5}, {"content": [None, {"text": 5}]}]}, MEDIUM),  # a part that is no text
        (asks(reasoning="high"), EASY),
    ],
)
def test_examples(body: dict[str, Any], expected: Difficulty) -> None:
    assert difficulty(body, DifficultyRules()) is expected


def test_the_rules_move_the_line() -> None:
    cautious = DifficultyRules(points_tools=0, medium_from=3, hard_from=6, long=10)
    assert points(asks("x" * 20, tools=[TOOL]), cautious) == {"long": 1}
    assert difficulty(asks(reasoning_effort="high"), cautious) is MEDIUM


def test_words_of_the_configuration_add_their_points() -> None:
    rules = DifficultyRules(words={"triage": 3, "심사": 1})
    assert difficulty(asks("Triage: cough"), rules) is HARD
    assert points(asks("보험심사"), rules) == {"words": 1}
    assert difficulty(asks("cough"), rules) is EASY


@pytest.mark.parametrize(
    ("body", "sign"),
    [
        (asks("Prove it."), "proof"),
        (asks("이 명제를 증명하세요"), "proof"),
        (asks("Analyze our sales."), "analysis"),
        (asks("매출을 분석해 주세요"), "analysis"),
        (asks("Summarize this mail."), "task"),
        (asks("$x^2$"), "formula"),
        (asks("\\frac12"), "formula"),
        (asks("deadlock"), "term"),
        (asks("int a;\nint b;"), "code"),
        (asks("가" * 1_500), "long"),
        (asks(thinking={"type": "enabled", "budget_tokens": 8_192}), "reasoning"),
        (asks(thinking={"type": "enabled", "budget_tokens": 8_193}), "much_reasoning"),
    ],
)
def test_each_sign_is_found(body: dict[str, Any], sign: str) -> None:
    assert sign in points(body, DifficultyRules())


@pytest.mark.parametrize(
    "text",
    [
        "the working class",
        "<b>",
        "Def Jam",
        "a return of goods; a gift",
        "내용증명",
        "a proof-reader",
        "Is C# a note?",
        "$5 and $10",
    ],
)
def test_words_that_only_look_like_signs_are_none(text: str) -> None:
    assert points(asks(text), DifficultyRules()) == {}


def test_the_task_is_read_from_the_last_message_of_the_user() -> None:
    turns = [
        {"role": "user", "content": "Prove it."},
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": "Thanks!"},
    ]
    assert difficulty({"messages": turns}, DifficultyRules()) is EASY


def test_words_within_a_long_document_are_not_the_task() -> None:
    document = "filler " * 200 + "prove design write" + " filler" * 200
    assert points(asks(document), DifficultyRules()) == {}


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["messages", "content", "type", "text", "tools", "reasoning", "effort"]), inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["messages", "tools", "reasoning", "reasoning_effort", "response_format"]), json))
def test_nothing_that_users_send_is_too_odd(body: dict[str, Any]) -> None:
    assert difficulty(body, DifficultyRules()) in Difficulty
