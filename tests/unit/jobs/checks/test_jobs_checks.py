"""Checks of answers, and how requests are asked again."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.checks.answer_checks import checks_of, parse_checks
from jobs.errors import InvalidRequest

SCHEMA = {"type": "object", "properties": {"stars": {"type": "integer", "maximum": 5}}, "required": ["stars"]}


def answer(text: str | None, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}]}


@pytest.mark.parametrize(
    ("check", "body", "said"),
    [
        ({"schema": SCHEMA}, answer('{"stars": 5}'), None),
        ({"schema": SCHEMA}, answer('{"stars": 6}'), "it does not match the schema: stars: 6 is greater than the maximum of 5"),
        ({"schema": SCHEMA}, answer("{}"), 'it does not match the schema: "stars" is a required property'),
        ({"schema": SCHEMA}, answer('{"stars": '), "it is not JSON"),
        ({"schema": SCHEMA}, answer(None), "it is not JSON"),
        ({"finish_reason": "stop"}, answer("a"), None),
        ({"finish_reason": "stop"}, answer("a", "length"), "it ended with 'length', not 'stop'"),
        ("not_empty", answer("a"), None),
        ("not_empty", answer(" \n"), "it is empty"),
        ("not_empty", answer(None), "it is empty"),
        ("not_empty", answer(None, tool_calls=[{"id": "t"}]), None),
        ("not_empty", {}, "it is empty"),
        ({"regex": "^[0-9]+$"}, answer("123"), None),
        ({"regex": "^[0-9]+$"}, answer("12a"), r"it does not match \^\[0-9\]\+\$"),
        ({"regex": "^(a+)+$"}, answer("a" * 200 + "!"), "it does not match"),
        ({"max_chars": 3}, answer("안녕요"), None),
        ({"max_chars": 3}, answer("four"), "it has 4 characters, and may have 3"),
    ],
)
def test_what_passes(check: Any, body: dict[str, Any], said: str | None) -> None:
    fault = checks_of(parse_checks([check])).fault(body)
    if said is None:
        assert fault is None
    else:
        assert fault is not None and re.match(said, fault.message), fault


def test_the_first_fault_of_any_choice_is_reported() -> None:
    checks = checks_of(parse_checks(["not_empty", {"max_chars": 2}]))
    body = {"choices": [answer("ok")["choices"][0], answer("long")["choices"][0]]}
    fault = checks.fault(body)
    assert fault is not None and fault.check == "max_chars"


@pytest.mark.parametrize(
    ("checks", "recheck", "said"),
    [
        (["unknown"], None, "a check is one of schema, finish_reason, not_empty, regex, max_chars"),
        ([{"a": 1, "b": 2}], None, "a check is one of"),
        ([7], None, "a check is one of"),
        ([{"schema": "x"}], None, "schema must be a JSON schema"),
        ([{"schema": {"type": "objectt"}}], None, "schema can't be used"),
        ([{"schema": {"$ref": "http://127.0.0.1:1/x.json"}}], None, "schema can't be used"),
        ([{"regex": "("}], None, "regex can't be used"),
        ([{"regex": 7}], None, "regex can't be used"),
        ([{"finish_reason": 1}], None, "finish_reason must be a text"),
        ([{"not_empty": False}], None, "not_empty has no value but true"),
        ([{"max_chars": 0}], None, "max_chars must be a whole number"),
        ([{"max_chars": True}], None, "max_chars must be a whole number"),
        (["not_empty"] * 21, None, "a job may have 20 checks"),
        ([{"schema": {"description": "x" * 70_000}}], None, "checks may have 64 KB"),
        ([], {"attempts": 1}, "recheck goes with checks"),
        (["not_empty"], {"attempts": 11}, "recheck.attempts must be a whole number from 0 to 10"),
        (["not_empty"], {"attempts": True}, "recheck.attempts must be a whole number"),
        (["not_empty"], {"feedback": "yes"}, "recheck.feedback must be true or false"),
        (["not_empty"], {"tries": 1}, "recheck has no 'tries'; there are attempts, feedback and model"),
    ],
)
def test_what_can_not_be_meant_is_refused(checks: list[Any], recheck: dict[str, Any] | None, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        parse_checks(checks, recheck)


def test_no_checks_are_nothing() -> None:
    assert parse_checks([]) == ""


def test_an_answer_that_was_cut_off_is_asked_for_with_more_tokens() -> None:
    checks = checks_of(parse_checks([{"finish_reason": "stop"}], {"feedback": True}))
    body = {"messages": [{"role": "user", "content": "q"}], "max_tokens": 40}
    cut = answer("a", "length")
    fault = checks.fault(cut)
    assert fault is not None
    assert checks.asked_again(body, cut, fault) == {**body, "max_tokens": 80}


@pytest.mark.parametrize("feedback", [False, True])
def test_the_model_gets_the_fault_as_feedback_if_it_is_wanted(feedback: bool) -> None:
    checks = checks_of(parse_checks(["not_empty"], {"feedback": feedback}))
    body = {"messages": [{"role": "user", "content": "q"}], "model": "m"}
    fault = checks.fault(answer(" "))
    assert fault is not None
    again = checks.asked_again(body, answer(" "), fault)
    if not feedback:
        assert again == body
    else:
        assert [message["role"] for message in again["messages"]] == ["user", "assistant", "user"]
        assert "it is empty" in again["messages"][-1]["content"]
    assert body["messages"] == [{"role": "user", "content": "q"}], "the line's own request stays"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["choices", "message", "content"]), inner),
        max_leaves=8,
    )
)
def test_whatever_an_endpoint_answers_is_judged(body: Any) -> None:
    checks = checks_of(parse_checks([{"schema": SCHEMA}, "not_empty", {"finish_reason": "stop"}, {"max_chars": 3}]))
    assert checks.fault(body) is not None
