"""The order in which lines that begin alike are neighbours."""

import random
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.intake.checker import Form, Intake
from jobs.intake.line_order import ENTRY


def line(number: int, *contents: str, **body: Any) -> bytes:
    messages = [{"role": "user", "content": content} for content in contents]
    entry = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": messages, **body}}
    return orjson.dumps(entry) + b"\n"


def order_of(content: bytes, form: Form = Form.BATCH) -> tuple[list[int], bytes]:
    """Return the order of a file's lines, and its lines as the order finds them."""
    with Intake(form) as intake:
        kept = intake.feed(content) + intake.finish()
        assert not intake.result().errors
        entries = list(ENTRY.iter_unpack(b"".join(intake.order())))
    found = b"".join(kept[offset : offset + length] + b"\n" for _, length, offset in entries)
    return [number for number, *_ in entries], found


def documents(count: int, size: int = 2000) -> list[str]:
    rng = random.Random(3)
    return ["".join(rng.choices("abcdefgh ", k=size)) for _ in range(count)]


def runs(numbers: list[int]) -> int:
    return 1 + sum(a != b for a, b in pairwise(numbers))


@pytest.mark.parametrize("form", list(Form))
def test_lines_with_the_same_document_are_neighbours(form: Form) -> None:
    texts = documents(20)
    groups = [n % 20 for n in range(400)]  # of 20 lines: too small for one of them to lead
    random.Random(5).shuffle(groups)
    content = b"".join(line(n, texts[group], f"question {n}") for n, group in enumerate(groups))
    numbers, found = order_of(content, form)
    assert sorted(numbers) == list(range(400))
    assert runs([groups[n] for n in numbers]) == 20
    assert [orjson.loads(each)["custom_id"] for each in found.splitlines()] == [f"r{n}" for n in numbers]


def test_the_first_line_of_a_large_group_goes_ahead_of_the_others() -> None:
    texts = documents(3)
    numbers, _ = order_of(b"".join(line(n, texts[n % 3], f"question {n}") for n in range(300)))
    groups = [n % 3 for n in numbers]
    second, third = groups[150], groups[-1]
    assert [place for place, group in enumerate(groups) if group == second][:2] == [84, 101]
    assert groups.index(third) == 184
    assert sorted(numbers) == list(range(300))


def test_within_a_group_the_order_of_the_input_stays() -> None:
    texts = documents(5)
    numbers, _ = order_of(b"".join(line(n, texts[n % 5], f"question {n}") for n in range(100)))
    for group in range(5):
        mine = [n for n in numbers if n % 5 == group]
        assert mine == sorted(mine)


def test_groups_nest() -> None:
    """System prompts, documents below them, and questions."""
    systems, texts = documents(3, 1500), documents(30, 3000)
    chosen = [(n % 3, n % 30) for n in range(600)]
    random.Random(6).shuffle(chosen)
    numbers, _ = order_of(b"".join(line(n, systems[s], texts[t], f"q{n}") for n, (s, t) in enumerate(chosen)))
    assert runs([chosen[n][0] for n in numbers]) == 3
    assert runs([chosen[n][1] for n in numbers]) == 30


def test_tools_stand_before_the_messages() -> None:
    text = documents(1)[0]
    tools = [[{"type": "function", "function": {"name": name}}] for name in ("a", "b")]
    numbers, _ = order_of(b"".join(line(n, text, f"question {n}", tools=tools[n % 2]) for n in range(100)))
    assert runs([n % 2 for n in numbers]) <= 4


@pytest.mark.parametrize(
    "contents",
    [
        [f"{n} question without anything in common with the others " * 20 for n in range(300)],
        [f"short {n}" for n in range(300)],
        ["the same prompt for all of them " * 100] * 300,
        [],
    ],
    ids=["nothing in common", "too short", "all alike", "empty"],
)
def test_where_nothing_is_gained_there_is_no_order(contents: list[str]) -> None:
    with Intake() as intake:
        intake.feed(b"".join(line(n, text) for n, text in enumerate(contents)))
        intake.finish()
        assert not b"".join(intake.order())


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9000)), min_size=1, max_size=60), st.integers(1, 5000))
def test_every_line_is_in_the_order_once(shapes: list[tuple[int, int]], chunk: int) -> None:
    content = b"".join(line(n, "abcde"[group] * size, str(n)) for n, (group, size) in enumerate(shapes))
    with Intake() as intake:
        kept = b"".join(intake.feed(content[start : start + chunk]) for start in range(0, len(content), chunk)) + intake.finish()
        entries = list(ENTRY.iter_unpack(b"".join(intake.order())))
    if entries:
        assert sorted(number for number, *_ in entries) == list(range(len(shapes)))
        lines = kept.splitlines()
        assert all(kept[offset : offset + length] == lines[number] for number, length, offset in entries)
