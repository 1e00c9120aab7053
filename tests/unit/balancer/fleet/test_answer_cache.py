"""Answers that are kept for requests that are repeated."""

from typing import Any

import pytest

from balancer.configuration.values import CacheSettings
from balancer.fleet.answer_cache import MOST_BYTES, AnswerCache, key_of
from balancer.fleet.model_request import ModelRequest
from balancer.outcome import Failure, FailureKind, Outcome, Usage


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def outcome(body: bytes = b"{}", **fields: Any) -> Outcome:
    return Outcome("one", 1.0, 200, body, usage=Usage(10, 5), cost=0.1, **fields)


def key(body: dict[str, Any], **fields: Any) -> bytes:
    found = key_of(ModelRequest(body, **fields))
    assert found is not None
    return found


def test_an_answer_is_kept_for_its_time_and_costs_nothing() -> None:
    clock = Clock()
    cache = AnswerCache(CacheSettings(10, 5.0), clock)
    cache.put(b"k", outcome())
    kept = cache.get(b"k")
    assert kept is not None and (kept.cost, kept.latency, kept.usage) == (0.0, 0.0, Usage(10, 5))
    clock.now += 4.9
    assert cache.get(b"k") and not cache.get(b"other")
    clock.now += 0.1
    assert cache.get(b"k") is None


def test_the_one_that_was_not_used_for_longest_gives_way() -> None:
    cache = AnswerCache(CacheSettings(2))
    for name in (b"a", b"b"):
        cache.put(name, outcome())
    assert cache.get(b"a")
    cache.put(b"c", outcome())
    assert cache.get(b"a") and cache.get(b"c") and cache.get(b"b") is None


def test_failures_and_huge_answers_are_not_kept() -> None:
    cache = AnswerCache(CacheSettings())
    cache.put(b"k", outcome(failure=Failure(FailureKind.SERVER, "no")))
    cache.put(b"k", outcome(b"x" * (MOST_BYTES + 1)))
    assert cache.get(b"k") is None


BODY = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "temperature": 1}


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (ModelRequest({**BODY, "user": "u", "metadata": {"a": "b"}}), True),
        (ModelRequest(dict(reversed(BODY.items()))), True),
        (ModelRequest({**BODY, "temperature": 0}), False),
        (ModelRequest({**BODY, "model": "n"}), False),
        (ModelRequest(BODY, owner="key_2"), False),
        (ModelRequest(BODY, api_key="sk-own"), False),
        (ModelRequest(BODY, only=frozenset({"one"})), False),
        (ModelRequest(BODY, defaults={"top_p": 1}), False),
        (ModelRequest(BODY, path="/embeddings"), False),
    ],
)
def test_requests_differ_by_all_that_may_change_the_answer(other: ModelRequest, same: bool) -> None:
    assert (key_of(other) == key(BODY)) is same


def test_a_request_that_cannot_be_written_is_not_kept() -> None:
    deep: Any = "x"
    for _ in range(1_000):
        deep = [deep]
    assert key_of(ModelRequest({"messages": deep})) is None
