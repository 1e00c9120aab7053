"""OpenAI's wire format: what goes out, and what to make of whatever comes back."""

import math
from email.utils import formatdate
from time import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.endpoint import Endpoint
from balancer.outcome import NO_USAGE, FailureKind, Usage
from balancer.providers import Call, adapter_for
from balancer.providers.failures import failure_kind, retry_after_seconds
from balancer.providers.openai import OpenAIAdapter
from balancer.providers.settings import apply_endpoint

ADAPTER = OpenAIAdapter()
CALL = Call("/chat/completions", b"{}", "m")
URL = "http://h/v1"


def completion(**fields: Any) -> bytes:
    return orjson.dumps({"id": "x", "choices": [{"message": {"content": "hi"}}], **fields})


@pytest.mark.parametrize(
    ("endpoint", "body", "sent"),
    [
        (Endpoint(URL), {"model": "m", "odd": [1]}, {"model": "m", "odd": [1]}),  # untouched
        (Endpoint(URL, models={"m": "org/m"}), {"model": "m"}, {"model": "org/m"}),
        (Endpoint(URL, models={"m": "org/m"}), {"model": "other"}, {"model": "other"}),
        (Endpoint(URL, models={"m": "org/m"}), {}, {"model": "org/m"}),  # its first one
        (Endpoint(URL, models={"m": "org/m"}), {"model": ""}, {"model": "org/m"}),
        (Endpoint(URL), {}, {}),
        (Endpoint(URL, max_tokens=100), {}, {"max_tokens": 100}),  # a default
        (Endpoint(URL, max_tokens=100), {"max_tokens": 7}, {"max_tokens": 7}),
        (Endpoint(URL, max_tokens=100), {"max_tokens": 700}, {"max_tokens": 100}),  # and a cap
        (Endpoint(URL, max_tokens=100), {"max_tokens": None}, {"max_tokens": 100}),
        (Endpoint(URL, max_tokens=100), {"max_completion_tokens": 700}, {"max_completion_tokens": 100}),
        (Endpoint(URL, max_tokens=100), {"max_completion_tokens": 7}, {"max_completion_tokens": 7}),
        (
            Endpoint(URL, max_tokens=100),  # neither name is a way around the cap
            {"max_completion_tokens": 7, "max_tokens": 700},
            {"max_completion_tokens": 7, "max_tokens": 100},
        ),
        (Endpoint(URL, temperature=0.7), {}, {"temperature": 0.7}),
        (Endpoint(URL, temperature=0.7), {"temperature": None}, {"temperature": 0.7}),
        (Endpoint(URL, temperature=0.7), {"temperature": 0}, {"temperature": 0}),  # zero is a choice
        (Endpoint(URL, temperature=0.0), {}, {"temperature": 0.0}),
    ],
)
def test_only_the_endpoints_own_settings_are_put_in(endpoint: Endpoint, body: dict[str, Any], sent: dict[str, Any]) -> None:
    before = dict(body)
    assert apply_endpoint(endpoint, body) == sent
    assert body == before
    assert orjson.loads(ADAPTER.call(endpoint, "/chat/completions", body).body) == sent


def test_a_body_that_needs_nothing_is_not_copied() -> None:
    body = {"model": "m"}
    assert apply_endpoint(Endpoint(URL), body) is body


def test_the_key_goes_into_a_header() -> None:
    assert ADAPTER.headers(Endpoint(URL, api_key="k"))["authorization"] == "Bearer k"
    assert "authorization" not in ADAPTER.headers(Endpoint(URL))


@pytest.mark.parametrize("provider", ["openai", "vllm"])
def test_providers_have_adapters(provider: str) -> None:
    assert isinstance(adapter_for(provider), OpenAIAdapter)


def test_an_unknown_provider_has_none() -> None:
    with pytest.raises(KeyError):
        adapter_for("bard")


def test_a_good_answer_is_handed_on_to_the_byte() -> None:
    body = completion(usage={"prompt_tokens": 3, "completion_tokens": 4})
    answer = ADAPTER.answer(CALL, 200, {}, body)
    assert (answer.body, answer.failure, answer.usage) == (body, None, Usage(3, 4))


def test_an_answer_over_several_lines_becomes_one() -> None:
    body = b'{\n  "choices": [],\r\n  "text": "a\\nb"\n}\n'
    answer = ADAPTER.answer(CALL, 200, {}, body)
    assert b"\n" not in answer.body and b"\r" not in answer.body
    assert orjson.loads(answer.body) == {"choices": [], "text": "a\nb"}


def test_a_deeply_nested_answer_is_no_trouble() -> None:
    body = b'{\n"choices": [], "a":' + b"[" * 600 + b"]" * 600 + b"}"
    assert ADAPTER.answer(CALL, 200, {}, body).failure is None
    assert ADAPTER.answer(CALL, 400, {}, body).failure is not None


def test_an_error_field_of_null_is_no_error() -> None:
    assert ADAPTER.answer(CALL, 200, {}, completion(error=None)).failure is None


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, NO_USAGE),
        ([], NO_USAGE),
        ({"prompt_tokens": "3", "completion_tokens": None}, NO_USAGE),
        ({"prompt_tokens": -3, "completion_tokens": 1.5}, NO_USAGE),
        ({"prompt_tokens": 2**63, "completion_tokens": 1e30}, NO_USAGE),  # no count, and more than Redis can add up
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 8,
                "prompt_tokens_details": {"cached_tokens": 7},
                "completion_tokens_details": {"reasoning_tokens": 6},
            },
            Usage(9, 8, 7, 6),
        ),
        ({"prompt_tokens": 9, "prompt_tokens_details": None, "completion_tokens_details": 5}, Usage(9)),
    ],
)
def test_usage_is_read_where_it_makes_sense(usage: Any, expected: Usage) -> None:
    assert ADAPTER.answer(CALL, 200, {}, completion(usage=usage)).usage == expected


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"<html><body>Sorry</body></html>", "an HTML page"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (completion()[:-10], "cut off"),
        (b"data: {}", "something else"),
        (b"\xff\xfe", "something else"),
        (b"[1]", "no object"),
        (b"null", "not JSON"),
        (b'"text"', "no object"),
        (b'{"error": {"message": "boom", "code": 500}}', "boom"),
        (b'{"error": "boom"}', "boom"),
        (b'{"error": {}}', "without `choices`"),
        (b'{"ok": true}', "without `choices`"),
    ],
)
def test_a_200_that_is_no_answer_may_be_tried_again(body: bytes, said: str) -> None:
    answer = ADAPTER.answer(CALL, 200, {}, body)
    assert answer.body == b""
    assert answer.failure is not None
    assert (answer.failure.kind, answer.failure.retryable) == (FailureKind.INVALID_RESPONSE, True)
    assert said in answer.failure.message


@pytest.mark.parametrize("body", [completion(text="the secret plan")[:-3], b'["the secret plan"]', b"the secret plan"])
def test_half_a_completion_is_not_quoted(body: bytes) -> None:
    failure = ADAPTER.answer(CALL, 200, {}, body).failure
    assert failure is not None and "secret" not in failure.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "no such model", "code": "model_not_found"}}', "HTTP 404: no such model"),
        (b'{"error": {"message": "", "type": "x"}}', 'HTTP 404: {"error": {"message": "", "type": "x"}}'),
        (b'{"error": "plain"}', "HTTP 404: plain"),
        (b'{"detail": "Not Found"}', "HTTP 404: Not Found"),  # FastAPI
        (b'{"detail": [{"msg": "wrong"}]}', "HTTP 404: [{'msg': 'wrong'}]"),
        (b'{"object": "error", "message": "vllm says", "code": 40303}', "HTTP 404: vllm says"),
        (b'[{"error": {"message": "google says"}}]', "HTTP 404: google says"),
        (b"[]", "HTTP 404: []"),
        (b"404 page not found", "HTTP 404: 404 page not found"),
        (b"", "HTTP 404: (empty)"),
        (b"\xff", "HTTP 404: \ufffd"),
        (b'{"error": 5}', 'HTTP 404: {"error": 5}'),
        (b'{"error": null}', 'HTTP 404: {"error": null}'),
        (b'{"error": {"message": {"deep": 1}}}', "HTTP 404: {'deep': 1}"),
        (b'{"error": {"message": "m", "code": {"odd": 1}}}', "HTTP 404: m"),
    ],
)
def test_errors_of_every_shape_are_told(body: bytes, message: str) -> None:
    failure = ADAPTER.answer(CALL, 404, {}, body).failure
    assert failure is not None
    assert (failure.message, failure.status, failure.kind) == (message, 404, FailureKind.BAD_REQUEST)


def test_a_long_error_is_cut() -> None:
    failure = ADAPTER.answer(CALL, 500, {}, b"x" * 100_000).failure
    assert failure is not None and len(failure.message) < 400


def test_an_error_object_is_kept_and_anything_else_is_not() -> None:
    assert ADAPTER.answer(CALL, 400, {}, b'{"error":\n"x"}').body == b'{"error": "x"}'
    assert ADAPTER.answer(CALL, 400, {}, b"<html>").body == b""
    assert ADAPTER.answer(CALL, 400, {}, b"[1]").body == b""


@pytest.mark.parametrize(
    ("status", "code", "kind", "retryable", "elsewhere"),
    [
        (400, None, FailureKind.BAD_REQUEST, False, False),
        (401, None, FailureKind.AUTHENTICATION, False, True),
        (403, None, FailureKind.AUTHENTICATION, False, True),
        (404, "model_not_found", FailureKind.BAD_REQUEST, False, False),
        (408, None, FailureKind.TIMEOUT, True, True),
        (409, None, FailureKind.SERVER, True, True),
        (413, None, FailureKind.BAD_REQUEST, False, False),
        (422, None, FailureKind.BAD_REQUEST, False, False),
        (429, "rate_limit_exceeded", FailureKind.RATE_LIMIT, True, True),
        (429, "insufficient_quota", FailureKind.QUOTA, False, True),  # waiting brings no money
        (500, None, FailureKind.SERVER, True, True),
        (501, None, FailureKind.SERVER, True, True),
        (502, None, FailureKind.SERVER, True, True),
        (503, None, FailureKind.OVERLOADED, True, True),
        (504, None, FailureKind.TIMEOUT, True, True),
        (529, "overloaded_error", FailureKind.OVERLOADED, True, True),
        (302, None, FailureKind.SERVER, True, True),  # a redirect is a proxy's fault, not the request's
        (204, None, FailureKind.SERVER, True, True),
    ],
)
def test_what_a_status_means(status: int, code: str | None, kind: FailureKind, retryable: bool, elsewhere: bool) -> None:
    assert failure_kind(status, code) is kind
    body = orjson.dumps({"error": {"message": "m", "code": code}})
    failure = ADAPTER.answer(CALL, status, {}, body).failure
    assert failure is not None
    assert (failure.kind, failure.retryable, failure.worth_trying_elsewhere) == (kind, retryable, elsewhere)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "later"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),  # over already
        ({"retry-after": "Wed, 99 Foo 2015"}, None),
        ({"retry-after": "Mon, 01 Jan 0001 00:00:00 +2359"}, 0.0),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers) == seconds


def test_a_date_to_come_is_waited_for() -> None:
    seconds = retry_after_seconds({"retry-after": formatdate(time() + 60, usegmt=True)})
    assert seconds is not None and 55 < seconds <= 60


@settings(max_examples=300, deadline=None, derandomize=True)
@given(value=st.text(max_size=40))
def test_any_retry_after_is_a_sensible_number_or_none(value: str) -> None:
    seconds = retry_after_seconds({"retry-after": value})
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "detail", "usage", "prompt_tokens"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(status=st.integers(100, 599), body=st.binary(max_size=60) | JSON.map(orjson.dumps))
def test_whatever_comes_back_has_a_meaning(status: int, body: bytes) -> None:
    answer = ADAPTER.answer(CALL, status, {}, body)
    assert (answer.failure is None) == (status == 200 and bool(answer.body))
    assert b"\n" not in answer.body
    if answer.body:
        assert isinstance(orjson.loads(answer.body), dict)
