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
from balancer.providers import Call, RequestRefused, StreamFault, adapter_for
from balancer.providers.failures import error_of, failure_kind, retry_after_seconds, shown, without_keys
from balancer.providers.openai.adapter import OpenAIAdapter
from balancer.providers.openai.answers import count_of
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


PDF = "data:application/pdf;base64,JVBERi0xLjQ="


def document(**fields: Any) -> dict[str, Any]:
    return {"type": "document", "document_url": {"url": PDF}, **fields}


@pytest.mark.parametrize(
    ("part", "file"),
    [
        (document(), {"filename": "document.pdf", "file_data": PDF}),
        (document(filename="a.pdf"), {"filename": "a.pdf", "file_data": PDF}),
        ({"type": "document", "document_url": PDF}, {"filename": "document.pdf", "file_data": PDF}),
        (
            document(document_url={"url": "data:application/x-hwp;base64,AAAA"}),  # its type is said in the data
            {"filename": "document", "file_data": "data:application/x-hwp;base64,AAAA"},
        ),
    ],
)
def test_a_document_is_sent_as_a_file(part: dict[str, Any], file: dict[str, Any]) -> None:
    text = {"type": "text", "text": "Sum up"}
    body = {
        "model": "m",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [text, part], "name": "n"}],
    }
    before = orjson.dumps(body)
    sent = orjson.loads(ADAPTER.call(Endpoint(URL), "/chat/completions", body).body)
    assert sent["messages"][0] == body["messages"][0]
    assert sent["messages"][1] == {"role": "user", "content": [text, {"type": "file", "file": file}], "name": "n"}
    assert orjson.dumps(body) == before, "the caller's own request is not touched"


@pytest.mark.parametrize("url", ["https://example.com/a.pdf", "data:application/pdf,plain", "a.pdf", None, 5])
def test_a_document_that_is_not_in_base64_is_refused(url: Any) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "user", "content": [document(document_url={"url": url})]}]
    with pytest.raises(RequestRefused) as refused:
        ADAPTER.call(Endpoint(URL), "/chat/completions", {"model": "m", "messages": messages})
    assert refused.value.param == "messages[1].content[0].document_url.url"


@pytest.mark.parametrize(
    "messages", [None, 5, "text", {}, [], [None, "x"], [{"role": "user"}], [{"content": [None, {}, "x", {"type": []}]}]]
)
def test_odd_messages_are_the_endpoints_business(messages: Any) -> None:
    body = {"model": "m", "messages": messages}
    assert orjson.loads(ADAPTER.call(Endpoint(URL), "/chat/completions", body).body) == body


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        (None, {"include_usage": True}),
        ("odd", {"include_usage": True}),
        ([1], {"include_usage": True}),
        ({"include_obfuscation": False}, {"include_usage": True, "include_obfuscation": False}),
        ({"include_usage": False}, None),  # said outright: the server refuses the field
    ],
)
def test_a_stream_asks_for_its_tokens(asked: Any, sent: dict[str, Any] | None) -> None:
    call = ADAPTER.call(Endpoint(URL), "/chat/completions", {"model": "m", "stream": True, "stream_options": asked})
    assert orjson.loads(call.body).get("stream_options") == sent
    assert call.stream


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
def test_the_field_that_is_at_fault_is_told(error: Any, param: str | None) -> None:
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
def test_keys_are_not_told(text: str, shown_as: str) -> None:
    assert without_keys(text) == shown_as
    assert error_of({"error": {"message": text}}, b"")[0] == shown_as
    assert error_of({"error": text}, b"")[0] == shown_as
    assert shown(text.encode()) == shown_as


def test_a_key_at_the_end_of_what_is_shown_is_not_told_by_half() -> None:
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
    ("choice", "said"),
    [
        (5, "a choice is no object"),
        ({}, "`message`"),
        ({"message": "text"}, "`message`"),
        ({"message": {"content": 5}}, "`message.content`"),
        ({"message": {"content": {"text": "x"}}}, "`message.content`"),
        ({"message": {"tool_calls": {}}}, "`message.tool_calls` is no list"),
        ({"message": {"tool_calls": ["x"]}}, "no object"),
        ({"message": {"tool_calls": [{"id": "x"}]}}, "without `function`"),
        ({"message": {"tool_calls": [{"function": {"name": "x", "arguments": {}}}]}}, "`function.arguments`"),
        ({"message": {"content": "x"}, "finish_reason": 5}, "`finish_reason`"),
    ],
)
def test_a_choice_that_nobody_could_read_is_no_answer(choice: Any, said: str) -> None:
    failure = ADAPTER.answer(CALL, 200, {}, orjson.dumps({"choices": [choice]})).failure
    assert failure is not None and failure.kind is FailureKind.INVALID_RESPONSE
    assert said in failure.message


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "reasoning": "hm", "odd": [1]},  # vLLM's reasoning, and whatever comes next
        {"content": [{"type": "text", "text": "x"}]},
        {"content": "x", "tool_calls": None},
        {"tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "n", "input": "i"}}]},
    ],
)
def test_unknown_fields_of_an_answer_are_handed_on(message: dict[str, Any]) -> None:
    body = orjson.dumps({"choices": [{"message": message}], "more": {"x": 1}})
    answer = ADAPTER.answer(CALL, 200, {}, body)
    assert (answer.failure, answer.body) == (None, body)


def test_an_older_completion_has_text_in_place_of_a_message() -> None:
    assert ADAPTER.answer(Call("/completions", b"{}", "m"), 200, {}, b'{"choices": [{"text": "x"}]}').failure is None


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


@pytest.mark.parametrize(
    ("data", "delta"),
    [
        (b'{"choices": [{"delta": {"content": "x"}}]}', {"content": "x"}),
        (b'{"choices": [{"delta": null, "finish_reason": "stop"}]}', {}),
        (b'{"choices": [{"finish_reason": "stop"}]}', {}),
        (b'{"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}}]}', None),
        (b'{"choices": []}', None),
        (b'{"usage": {}}', None),
    ],
)
def test_a_chunk_is_handed_on_so_that_clients_can_read_it(data: bytes, delta: Any) -> None:
    (chunk,) = ADAPTER.translation(CALL).take(data)
    assert isinstance(chunk["choices"], list)
    assert delta is None or chunk["choices"][0]["delta"] == delta


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"null",
        b'{"choices": 5}',
        b'{"choices": [5]}',
        b'{"choices": [{"delta": 5}]}',
        b'{"choices": [{"delta": {"content": 5}}]}',
    ],
)
def test_a_chunk_that_nobody_could_read_ends_the_stream(data: bytes) -> None:
    with pytest.raises(StreamFault) as fault:
        ADAPTER.translation(CALL).take(data)
    assert fault.value.failure.kind is FailureKind.INVALID_RESPONSE


def test_an_api_that_there_is_not_is_refused() -> None:
    with pytest.raises(RequestRefused, match=r"options\.api.*`chat` or `responses`.*'response'"):
        ADAPTER.call(Endpoint(URL, options={"api": "response"}), "/chat/completions", {"model": "m", "messages": []})
    chat = Endpoint(URL, options={"api": "chat"})
    assert ADAPTER.call(chat, "/chat/completions", {"model": "m", "messages": []}).path == "/chat/completions"


@pytest.mark.parametrize("count", [True, False, "5", 5.0, None, -1, 2**41, [5]])
def test_what_is_no_count_of_tokens_counts_as_none(count: object) -> None:
    assert count_of({"prompt_tokens": count}, "prompt_tokens") == 0


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("value", [5000.0, "5000", 10**20, 0, -1, True, [5], {}])
def test_a_token_limit_that_could_slip_past_the_cap_is_refused(name: str, value: object) -> None:
    for endpoint in (Endpoint("http://h/v1"), Endpoint("http://h/v1", max_tokens=100)):
        with pytest.raises(RequestRefused) as caught:
            apply_endpoint(endpoint, {"messages": [], name: value})
        assert caught.value.param == name


@pytest.mark.parametrize("value", [128, 0, 1.0, "2", True])
def test_more_answers_than_anybody_needs_are_refused(value: object) -> None:
    with pytest.raises(RequestRefused, match="1 to 64"):
        apply_endpoint(Endpoint("http://h/v1"), {"messages": [], "n": value})
