"""Which part of a request is marked to be kept."""

from typing import Any

import pytest

from workers.shards.shared_prefix import MARK, cache_marked, prefix_of

USER = {"role": "user", "content": "Hi"}
TEXT = {"type": "text", "text": "Be brief."}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


def test_the_prefix_is_what_comes_before_the_first_user_message() -> None:
    later = system("Stop.")
    body = {"tools": ["t"], "messages": [system("a"), {"role": "developer", "content": "b"}, USER, later]}
    assert prefix_of(body) == (["t"], body["messages"][:2])
    assert prefix_of({"messages": [USER]}) == (None, [])
    assert prefix_of({}) == (None, ())


@pytest.mark.parametrize("messages", [None, "Hi", {"role": "system"}, [None], ["system"], [{"role": ["system"]}]])
def test_whatever_a_line_holds_it_has_a_prefix(messages: Any) -> None:
    tools, messages_of_prefix = prefix_of({"messages": messages})
    assert tools is None and len(messages_of_prefix) == 0


@pytest.mark.parametrize("content", ["Be brief.", [TEXT], [{"type": "text", "text": "x"}, TEXT]])
def test_the_last_part_of_the_last_system_message_is_marked(content: Any) -> None:
    body = {"messages": [system("first"), system(content), USER]}
    marked = cache_marked(body)["messages"]
    assert marked[0] == system("first") and marked[2] == USER
    assert marked[1]["content"][-1] == {**TEXT, "cache_control": MARK}
    assert len(marked[1]["content"]) == (len(content) if isinstance(content, list) else 1)
    assert body["messages"][1] == system(content), "the line itself is left as it was"


@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [],
        [system([])],
        [system([{**TEXT, "cache_control": MARK}]), system("second"), USER],
        [system(None), USER],
    ],
)
def test_a_request_with_marks_of_its_own_or_without_a_system_message_is_left_alone(messages: list[Any]) -> None:
    body = {"messages": messages}
    assert cache_marked(body) is body
