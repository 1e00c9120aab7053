"""The prefix by which a chat is kept at an endpoint."""

from typing import Any

import pytest

from balancer.fleet.prompt_prefixes import FEW, REMEMBERED, PromptPrefixes

DOCUMENT, OTHER, QUESTION = "d" * 2000, "e" * 2000, "q" * 300


def chat(system: str, *users: str, **fields: Any) -> dict[str, Any]:
    first = [{"role": "system", "content": system}] if system else []
    turns = [{"role": "user", "content": user} for user in users]
    return {"messages": first + turns, **fields}


def prefix(*bodies: dict[str, Any], endpoints: int = 4) -> list[int | None]:
    prefixes = PromptPrefixes()
    return [prefixes.of(body, endpoints) for body in bodies]


def test_questions_about_a_document_begin_alike_and_those_about_another_do_not() -> None:
    one, same, other = prefix(chat(DOCUMENT, "Who?"), chat(DOCUMENT, "When?"), chat(OTHER, "Who?"))
    assert one == same != other
    assert one is not None


def test_processes_come_to_the_same_prefix() -> None:
    assert prefix(chat(DOCUMENT, "Who?")) == prefix(chat(DOCUMENT, "When?"))


def test_a_conversation_keeps_its_prefix_as_it_goes_on() -> None:
    first, second = prefix(chat("", QUESTION), chat("", QUESTION, "And then?"))
    assert first == second is not None


def test_tools_count() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "x" * 300}}]
    one, other = prefix(chat("", "Hi", tools=tools), chat("", "Hi"))
    assert one is not None and other is None


@pytest.mark.parametrize(
    "body",
    [
        chat("", "Hi"),
        chat("Be brief.", "Hi"),
        {},
        {"messages": []},
        {"messages": "Hi"},
        chat("", *["q"] * 500),  # each of them is short
    ],
)
def test_a_prompt_that_is_short_has_none(body: dict[str, Any]) -> None:
    assert prefix(body) == [None]


def test_with_one_endpoint_there_is_nothing_to_choose() -> None:
    assert prefix(chat(DOCUMENT, "Who?"), endpoints=1) == [None]


def test_a_system_prompt_that_all_share_leaves_it_to_what_the_user_says() -> None:
    prefixes = PromptPrefixes()
    found = [prefixes.of(chat(DOCUMENT, f"question {number % 10}"), 4) for number in range(FEW + 200)]
    assert len(set(found[:FEW])) == 1
    assert len(set(found[FEW:])) == 10


def test_what_was_asked_long_ago_counts_no_more() -> None:
    prefixes = PromptPrefixes()
    at_first = prefixes.of(chat(DOCUMENT, "Who?"), 4)
    for _ in range(REMEMBERED):
        prefixes.of(chat(DOCUMENT, "Who?"), 4)
    assert prefixes.of(chat(DOCUMENT, "Who?"), 4) != at_first
    for number in range(REMEMBERED):
        prefixes.of(chat(f"{number} {OTHER}", "Who?"), 4)
    assert prefixes.of(chat(DOCUMENT, "Who?"), 4) == at_first
    assert len(prefixes._counts) <= len(prefixes._latest) == REMEMBERED


def test_pictures_and_parts_count_by_what_they_hold() -> None:
    def shown(text: str, url: str) -> dict[str, Any]:
        parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
        return {"messages": [{"role": "user", "content": parts}]}

    one, same, other, text = prefix(
        shown(QUESTION, "https://h/a.png"),
        shown(QUESTION, "https://h/a.png"),
        shown(QUESTION, "https://h/b.png"),
        chat("", QUESTION),
    )
    assert one == same
    assert len({one, other, text}) == 3


@pytest.mark.parametrize("content", [None, 5, {"a": 1}, [None, 5, "x", {"text": 5}], "\ud800" * 300])
def test_whatever_a_message_holds_it_is_no_error(content: Any) -> None:
    prefix({"messages": [{"role": "user", "content": content}]})
