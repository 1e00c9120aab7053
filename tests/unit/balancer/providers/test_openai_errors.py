"""What errors in OpenAI's format mean, and what is shown of them."""

import math
from email.utils import formatdate
from time import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_calls import ADAPTER, CALL, JSON

from balancer.outcome import FailureKind
from balancer.providers import StreamFault
from balancer.providers.failures import error_of, failure_kind, retry_after_seconds, shown, without_keys


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
def test_errors_of_every_shape_are_read(body: bytes, message: str) -> None:
    failure = ADAPTER.answer(CALL, 404, {}, body).failure
    assert failure is not None
    assert (failure.message, failure.status, failure.kind) == (message, 404, FailureKind.MODEL_NOT_FOUND)


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
        (404, "model_not_found", FailureKind.MODEL_NOT_FOUND, False, True),
        (404, None, FailureKind.MODEL_NOT_FOUND, False, True),
        (403, "model_not_found", FailureKind.MODEL_NOT_FOUND, False, True),  # a key without access to it
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


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"code": "context_length_exceeded"}, FailureKind.CONTEXT_TOO_LONG),
        # vLLM has no word for it in its code, which is the status
        (
            400,
            {"code": 400, "type": "BadRequestError", "message": "This model's maximum context length is 2048"},
            FailureKind.CONTEXT_TOO_LONG,
        ),
        (400, {"code": 400, "message": "The prompt is longer than the maximum model length of 8"}, FailureKind.CONTEXT_TOO_LONG),
        (400, {"code": 400, "message": "temperature must be positive"}, FailureKind.BAD_REQUEST),
        (500, {"code": 500, "message": "maximum context length is"}, FailureKind.SERVER),  # not the request's fault
        (400, {"code": "content_filter"}, FailureKind.CONTENT_FILTER),
        (400, {"code": "content_policy_violation"}, FailureKind.CONTENT_FILTER),
        (429, {"code": "rate_limit_exceeded", "type": "requests"}, FailureKind.RATE_LIMIT),
        (429, {"code": "insufficient_quota", "type": "insufficient_quota"}, FailureKind.QUOTA),
        (429, {"code": "something_new", "type": "insufficient_quota"}, FailureKind.QUOTA),  # the type says it
        (429, {"code": None, "type": "insufficient_quota"}, FailureKind.QUOTA),
        (404, {"code": "model_not_found", "type": "invalid_request_error"}, FailureKind.MODEL_NOT_FOUND),
        (503, {"code": "server_is_overloaded", "type": "service_unavailable_error"}, FailureKind.OVERLOADED),
    ],
)
def test_what_an_error_means(status: int, error: dict[str, Any], kind: FailureKind) -> None:
    failure = ADAPTER.answer(CALL, status, {}, orjson.dumps({"error": {"message": "m", **error}})).failure
    assert failure is not None and failure.kind is kind


@pytest.mark.parametrize(
    ("error", "param"),
    [
        ({"message": "m", "param": "messages[0].content"}, "messages[0].content"),
        ({"message": "m", "param": None}, None),
        ({"message": "m", "param": ""}, None),
        ({"message": "m", "param": {"odd": 1}}, None),
        ("text", None),
    ],
)
def test_the_field_that_is_at_fault_is_named(error: Any, param: str | None) -> None:
    failure = ADAPTER.answer(CALL, 400, {}, orjson.dumps({"error": error})).failure
    assert failure is not None and failure.param == param


@pytest.mark.parametrize(
    ("text", "shown_as"),
    [
        ("Incorrect API key provided: sk-abc***. You can", "Incorrect API key provided: *** You can"),  # OpenAI's own
        ("Incorrect API key provided: abcdef********wxyz.", "Incorrect API key provided: ***"),
        ("the key sk-proj-Abc_123-xyz is wrong", "the key sk-*** is wrong"),
        ("the key SK-ANT-api03-AAAA is wrong", "the key SK-*** is wrong"),
        ("no such key: AIzaSyD-1234567890", "no such key: AIza***"),
        ("GET https://h/v1?key=q1w2e3r4&alt=sse failed", "GET https://h/v1?key=***&alt=sse failed"),
        ("authorization: Bearer abc.def123", "authorization: Bearer ***"),
        ("token 'Bearer abc.def123' expired", "token 'Bearer ***' expired"),
        ('{"x-api-key": "0123456789abcdef"}', '{"x-api-key": "***"}'),
        ("x-goog-api-key=q1w2e3r4", "x-goog-api-key=***"),
        ('{"apiKey":"abcd1234efgh"}', '{"apiKey":"***"}'),
        # No keys: words about them, and what only looks a little like one
        ("invalid x-api-key", "invalid x-api-key"),
        ("API key not valid. Please pass a valid API key.", "API key not valid. Please pass a valid API key."),
        ("Bearer authentication is required", "Bearer authentication is required"),
        ("x-api-key: required", "x-api-key: required"),
        ("a risk-averse task-123456 in gpt-4o-mini-2024-07-18", "a risk-averse task-123456 in gpt-4o-mini-2024-07-18"),
    ],
)
def test_keys_are_not_shown(text: str, shown_as: str) -> None:
    assert without_keys(text) == shown_as
    assert error_of({"error": {"message": text}}, b"")[0] == shown_as
    assert error_of({"error": text}, b"")[0] == shown_as
    assert shown(text.encode()) == shown_as


def test_a_key_at_the_end_of_what_is_shown_is_not_shown_by_half() -> None:
    message = "x" * 290 + " sk-0123456789"
    assert "sk-0" not in error_of({"error": {"message": message}}, b"")[0]


def test_a_refused_key_stands_neither_in_the_message_nor_in_the_body() -> None:
    error = {"message": "Incorrect API key provided: sk-abc***wxyz.", "param": "sk-abc***wxyz", "code": "invalid_api_key"}
    answer = ADAPTER.answer(CALL, 401, {}, orjson.dumps({"error": error}))
    assert answer.failure is not None
    assert b"wxyz" not in answer.body
    assert "wxyz" not in answer.failure.message + str(answer.failure.param)
    assert orjson.loads(answer.body)["error"]["code"] == "invalid_api_key"


@settings(max_examples=300, deadline=None, derandomize=True)
@given(text=st.text(alphabet="sk-AIzbearpixkyho:=\"' 0*?&\n", max_size=60), body=JSON)
def test_an_error_body_without_keys_is_still_json(text: str, body: Any) -> None:
    answer = ADAPTER.answer(CALL, 401, {}, orjson.dumps({"error": {"message": text, "more": body}}))
    assert isinstance(orjson.loads(answer.body), dict)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"error": {"message": "boom", "type": "server_error", "code": null}}', FailureKind.SERVER),
        (b'{"error": {"message": "boom", "type": "BadRequestError", "code": 400}}', FailureKind.BAD_REQUEST),  # vLLM's
        (b'{"error": {"message": "boom", "code": 503}}', FailureKind.OVERLOADED),
        (b'{"error": {"message": "boom", "code": 99999999999}}', FailureKind.SERVER),
        (b'{"error": {"message": "boom", "code": "context_length_exceeded"}}', FailureKind.CONTEXT_TOO_LONG),
        (b'{"error": "boom"}', FailureKind.SERVER),
    ],
)
def test_an_error_amid_a_stream_means_what_it_says(data: bytes, kind: FailureKind) -> None:
    with pytest.raises(StreamFault) as fault:
        ADAPTER.translation(CALL).take(data)
    assert (fault.value.failure.kind, fault.value.failure.message) == (kind, "an error in the stream: boom")
