"""Requests of an input that repeat an earlier one."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.intake import repeats, uniqueness
from jobs.intake.line_order import MOST_REPEATS, entry, unpack
from jobs.intake.repeats import FirstLines, RepeatedRequests, is_repeatable
from jobs.storage.object_store import ObjectStore

CHAT = "/v1/chat/completions"


def array_of(bodies: list[dict[str, Any]], everything: bool = True) -> tuple[list[int], int]:
    with RepeatedRequests(everything) as repeated:
        for body in bodies:
            repeated.add(CHAT, body)
        content = b"".join(repeated.chunks())
        return list(memoryview(content).cast("I")), repeated.count


@given(st.lists(st.integers(0, 12), max_size=80), st.sampled_from([1, 2, 5, 1000]), st.sampled_from([1, 3, 1000]))
def test_each_line_has_the_first_one_with_its_request(asked: list[int], in_memory: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(uniqueness, "IN_MEMORY", in_memory)  # beyond it, on disk
        monkeypatch.setattr(repeats, "BLOCK", block)
        found, count = array_of([{"prompt": each} for each in asked])
    firsts = [asked.index(each) for each in asked]
    assert count == len(asked) - len(set(asked))
    assert found == (firsts if count else [])


def test_fields_in_any_order_and_white_space_are_the_same_but_no_other_value() -> None:
    bodies = [{"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1}, {"a": 1, "b": [2, 1]}, {"a": "1", "b": [1, 2]}]
    assert array_of(bodies)[0] == [0, 0, 2, 3]


def test_the_same_body_for_another_path_is_another_request() -> None:
    with RepeatedRequests(everything=True) as repeated:
        for path in ("/v1/embeddings", "/v1/moderations", "/v1/embeddings"):
            repeated.add(path, {"input": "x"})
        assert list(memoryview(b"".join(repeated.chunks())).cast("I")) == [0, 1, 0]


@pytest.mark.parametrize(
    ("path", "fields", "expected"),
    [
        (CHAT, {}, False),
        (CHAT, {"temperature": 0}, True),
        (CHAT, {"temperature": 0.0}, True),
        (CHAT, {"temperature": 0.1}, False),
        (CHAT, {"temperature": None}, False),
        (CHAT, {"temperature": 1, "seed": 0}, True),
        (CHAT, {"seed": None}, False),
        ("/v1/completions", {}, False),
        ("/v1/completions", {"temperature": 0}, True),
        ("/v1/embeddings", {}, True),
        ("/v1/moderations", {}, True),
        ("/v1/rerank", {}, True),
    ],
)
def test_what_has_the_same_answer(path: str, fields: dict[str, Any], expected: bool) -> None:
    assert is_repeatable(path, fields) is expected


async def test_the_array_is_read_back(tmp_path: Path) -> None:
    store = ObjectStore.open(str(tmp_path))
    with RepeatedRequests() as repeated:
        for number in range(10):
            repeated.add(CHAT, {"prompt": number % 4, "temperature": 0})
        await store.write("array", b"".join(repeated.chunks()))
    with await FirstLines.load(store, "array") as first_lines:
        assert [first_lines[number] for number in range(len(first_lines))] == [number % 4 for number in range(10)]


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**40 - 1), st.integers(0, MOST_REPEATS))
def test_an_entry_of_an_order_is_read_back(number: int, length: int, offset: int, count: int) -> None:
    assert unpack(entry(number, length, offset, count)) == [(number, length, offset, count)]
