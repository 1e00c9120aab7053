"""Wanted LaaS: what goes out, what is refused before it does, and what to make of whatever comes back."""

import ast
import importlib
import logging
import sys
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.endpoint import Endpoint
from balancer.outcome import NO_USAGE, FailureKind, Usage
from balancer.providers import Call, Check, RequestRefused, StreamFault
from balancer.providers.laas.adapter import LaaSAdapter
from tests.media import jpeg, pages, pdf, png

ADAPTER = LaaSAdapter()
CHAT = "/chat/completions"
ENDPOINT = Endpoint("https://laas.test/api/preset/v2", provider="laas", api_key="k", options={"project": "P", "hash": "h"})
HI = [{"role": "user", "content": "Hi"}]
CALL = Call(CHAT, b"{}", "m")
MB = 1024 * 1024


def url(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{b64encode(content).decode()}"


PNG = png(1, 1)


def image(content: bytes = PNG, media_type: str = "image/png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url(media_type, content), "detail": "high"}}


def file(content: bytes, media_type: str = "application/pdf") -> dict[str, Any]:
    return {"type": "file", "file": {"filename": "a.pdf", "file_data": url(media_type, content)}}


def parts(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": list(parts)}]}


def sent(body: Mapping[str, Any], endpoint: Endpoint = ENDPOINT) -> dict[str, Any]:
    parsed = orjson.loads(ADAPTER.call(endpoint, CHAT, body).body)
    assert isinstance(parsed, dict)
    return parsed


def sent_part(part: Mapping[str, Any]) -> Any:
    return sent(parts(part))["messages"][1]["content"][0]


def refused(body: Mapping[str, Any], endpoint: Endpoint = ENDPOINT) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        ADAPTER.call(endpoint, CHAT, body)
    return caught.value


def test_the_headers_are_the_projects_and_the_keys_and_no_others() -> None:
    expected = {"project": "P", "apiKey": "k", "content-type": "application/json; charset=utf-8"}
    assert ADAPTER.headers(ENDPOINT) == expected


def test_a_check_asks_the_host_for_its_health_and_finds_no_models() -> None:
    assert ADAPTER.check == Check("/health", at_root=True)
    assert ADAPTER.models(b'{"data": [{"id": "m"}]}') == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messages": HI}, {"hash": "h", "messages": HI}),
        ({"messages": HI, "hash": "other"}, {"hash": "other", "messages": HI}),  # the request's own wins
        ({"hash": ""}, {"hash": "h"}),  # the preset may say all
        ({"params": {"name": "Kim", "n": 1}}, {"hash": "h", "params": {"name": "Kim", "n": 1}}),  # untouched
        ({"model": "gpt-5", "service_type": "AZURE"}, {"hash": "h", "model": "gpt-5", "service_type": "AZURE"}),
        ({"model": ""}, {"hash": "h"}),
        ({"temperature": 0, "top_p": 1}, {"hash": "h", "temperature": 0, "top_p": 1}),
        ({"frequency_penalty": 1, "presence_penalty": 1}, {"hash": "h", "frequency_penalty": 1, "presence_penalty": 1}),
        ({"max_completion_tokens": 5, "max_tokens": 9, "source_count": 3}, {"hash": "h", "max_tokens": 5, "source_count": 3}),
        ({"response_format": {"type": "json_object"}}, {"hash": "h", "response_format": {"type": "json_object"}}),
        ({"stream": True, "stream_options": {"include_usage": True}, "user": "u", "n": 1}, {"hash": "h"}),  # changes no answer
    ],
)
def test_what_laas_knows_is_sent(body: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sent(body) == expected


def test_the_preset_keeps_its_model_where_the_asked_for_name_is_mapped_to_nothing() -> None:
    endpoint = Endpoint(ENDPOINT.url, provider="laas", options=ENDPOINT.options, models={"summary": ""})
    call = ADAPTER.call(endpoint, CHAT, {"model": "summary", "messages": HI})
    assert "model" not in orjson.loads(call.body)
    assert call.model == ""


def test_a_stream_is_never_asked_for() -> None:
    call = ADAPTER.call(ENDPOINT, CHAT, {"messages": HI, "stream": True})
    assert not call.stream
    with pytest.raises(StreamFault):
        ADAPTER.translation(call).take(b"{}")


TURN = {"role": "assistant", "content": None}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": HI, "tools": [{}]}, "tools"),
        ({"messages": HI, "stop": "END"}, "stop"),
        ({"messages": HI, "n": 2}, "n"),
        ({"messages": HI, "top_k": 3}, "top_k"),
        ({"messages": HI, "params": "Kim"}, "params"),
        ({"messages": HI, "hash": 3}, "hash"),
        ({"messages": HI, "response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ({"messages": HI, "response_format": {"type": ["text"]}}, "response_format"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [*HI, {"role": "tool", "content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [*HI, {**TURN, "tool_calls": [{}]}]}, "messages[1].tool_calls"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        (parts({"type": "input_audio"}), "messages[1].content[0].type"),
        (parts("Hi"), "messages[1].content[0].type"),
        (parts({"type": "text"}), "messages[1].content[0].text"),
        (parts({"type": "image_url", "image_url": "x"}), "messages[1].content[0].image_url"),
        (parts({"type": "image_url", "image_url": {"url": "ftp://x/a.png"}}), "messages[1].content[0].image_url"),
        (parts({"type": "file", "file": {"file_id": "file-1"}}), "messages[1].content[0].file"),
        (parts({"type": "document"}), "messages[1].content[0].document_url"),
        (parts({"type": "document", "source": {"type": "url", "url": "https://x"}}), "messages[1].content[0].source"),
        (parts({"type": "document", "source": {"type": "base64"}}), "messages[1].content[0].source"),
    ],
)
def test_what_laas_can_not_do_is_refused_by_its_place(body: dict[str, Any], param: str) -> None:
    assert refused(body).param == param


def test_a_request_without_a_preset_is_refused() -> None:
    error = refused({"messages": HI}, Endpoint(ENDPOINT.url, name="wanted", provider="laas"))
    assert error.param == "hash"
    assert "wanted" in str(error)


def test_another_path_is_refused() -> None:
    with pytest.raises(RequestRefused, match="/embeddings"):
        ADAPTER.call(ENDPOINT, "/embeddings", {"messages": HI})


def test_a_message_has_its_role_and_its_content_only() -> None:
    turns = [{"role": "developer", "content": "x", "name": "n"}, {**TURN, "refusal": "No."}, {**TURN, "tool_calls": []}]
    assert sent({"messages": turns})["messages"] == [
        {"role": "system", "content": "x"},
        {"role": "assistant", "content": "No."},
        {"role": "assistant", "content": ""},
    ]


PDF_PART = {"type": "document", "document_url": {"url": url("application/pdf", pdf())}}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (image(), {"type": "image_url", "image_url": {"url": url("image/png", png(1, 1))}}),
        (image(jpeg(), "image/jpg"), {"type": "image_url", "image_url": {"url": url("image/jpeg", jpeg())}}),  # its right name
        (image(png(1, 1).ljust(4 * MB, b"\0")), image(png(1, 1).ljust(4 * MB, b"\0"))),
        (
            {"type": "image_url", "image_url": {"url": "http://x/a.gif"}},
            {"type": "image_url", "image_url": {"url": "http://x/a.gif"}},
        ),
        (PDF_PART, PDF_PART),
        (file(pdf()), PDF_PART),
        (
            {
                "type": "document",
                "title": "A",
                "source": {"type": "base64", "media_type": "application/pdf", "data": b64encode(pdf()).decode()},
            },
            PDF_PART,
        ),
        (file(pdf(*pages(20))), {"type": "document", "document_url": {"url": url("application/pdf", pdf(*pages(20)))}}),
    ],
)
def test_images_and_pdfs_are_sent_in_laas_shape(part: dict[str, Any], expected: dict[str, Any]) -> None:
    heard = sent_part(part)
    expected.get("image_url", {}).pop("detail", None)
    assert heard == expected


BROKEN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,@@@@"}}


@pytest.mark.parametrize(
    ("part", "field", "reason"),
    [
        (image(b"GIF89a", "image/gif"), "image_url", "not image/gif"),
        (image(b"GIF89a"), "image_url", "neither a JPEG nor a PNG"),
        (image(jpeg()), "image_url", "is declared as image/png, but is image/jpeg"),
        (image(png(1, 1).ljust(4 * MB + 1, b"\0")), "image_url", "at most 4 MB"),
        (BROKEN, "image_url", "is not valid base64"),
        (file(b"PK\3\4"), "file.file_data", "is no PDF"),
        (file(b"PK\3\4", "application/zip"), "file.file_data", "not application/zip"),
        (file(pdf(*pages(21))), "file.file_data", "has 21 pages"),
        (file(pdf().ljust(32 * MB + 1, b"\0")), "file.file_data", "at most 32 MB"),
        ({"type": "document", "document_url": {"url": "https://x/a.pdf"}}, "document_url", "not by its address"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_media_beyond_the_limits_are_refused_by_their_place(part: dict[str, Any], field: str, reason: str) -> None:
    error = refused(parts({"type": "text", "text": "What?"}, part))
    assert error.param == f"messages[1].content[1].{field}"
    assert reason in str(error)


def test_the_fourth_image_of_a_message_is_refused_wherever_the_images_are() -> None:
    remote = {"type": "image_url", "image_url": {"url": "https://x/a.png"}}
    three = [image(), remote, image()]
    assert len(sent(parts(*three))["messages"][1]["content"]) == 3
    error = refused(parts(*three, {"type": "text", "text": "?"}, remote))
    assert error.param == "messages[1].content[4].image_url"
    assert "at most 3" in str(error)


def test_a_long_image_is_sent_with_a_warning_that_shows_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        sent_part(image(png(1568, 1568)))
        assert not caplog.records
        sent_part(image(png(20, 1569)))
    assert [record.getMessage() for record in caplog.records] == [
        "messages[1].content[0].image_url: its longer side has 1569 pixels; LaaS advises at most 1568"
    ]


def reply(**fields: Any) -> bytes:
    choice = {"message": {"content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}], "tool_calls": []}}
    return orjson.dumps({"object": "chat.completion.chunk", "created": 1_795_000_000_123, "choices": [choice], **fields})


def test_an_answer_with_liberties_becomes_a_clean_completion() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    answer = ADAPTER.answer(CALL, 200, {}, reply(usage=usage, session_id="s", connector_results=[]))
    assert answer.failure is None
    assert answer.usage == Usage(3, 2)
    assert orjson.loads(answer.body) == answer.parsed
    made = dict(answer.parsed or {})
    assert made.pop("id").startswith("chatcmpl-")
    assert made.pop("usage")["total_tokens"] == 5
    message = {"role": "assistant", "content": "Hello", "refusal": None}
    assert made == {
        "object": "chat.completion",
        "created": 1_795_000_000,
        "model": "m",
        "choices": [{"index": 0, "logprobs": None, "message": message, "finish_reason": "stop"}],
    }


@pytest.mark.parametrize(
    ("choice", "content", "ending"),
    [
        ({"message": {"content": "x"}, "finish_reason": "length"}, "x", "length"),
        ({"message": {"content": ""}, "finish_reason": "content_filter"}, "", "content_filter"),
        ({"message": {"content": None}, "finish_reason": None}, None, "stop"),
        ({"message": {"content": "x"}, "finish_reason": "end"}, "x", "stop"),  # unheard of
    ],
)
def test_content_and_ending_are_read(choice: dict[str, Any], content: str | None, ending: str) -> None:
    made = ADAPTER.answer(CALL, 200, {}, orjson.dumps({"choices": [choice]})).parsed
    assert made is not None
    assert (made["choices"][0]["message"]["content"], made["choices"][0]["finish_reason"]) == (content, ending)
    assert "usage" not in made  # it was not counted


def test_tool_calls_of_a_presets_own_are_kept() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    choice = {"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}
    made = ADAPTER.answer(CALL, 200, {}, orjson.dumps({"choices": [choice]})).parsed
    assert made is not None and made["choices"][0]["message"]["tool_calls"] == [call]


def test_what_litellms_handler_imports_of_this_project_is_there() -> None:
    """LiteLLM itself isn't installed with the tests, so neither the type checker nor a test imports the handler."""
    source = Path(__file__).parents[4] / "laas_proxy_server.py"
    imports = [node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.ImportFrom)]
    own = [(node.module, each.name) for node in imports if (node.module or "").startswith("balancer") for each in node.names]
    assert own
    for module, name in own:
        assert module is not None and hasattr(importlib.import_module(module), name), f"{module}.{name}"


def test_litellms_handler_says_what_to_install_where_litellm_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(ImportError, match=r"pip install 'roadbalancer\[litellm\]'"):
        importlib.import_module("laas_proxy_server")


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b'{"error": {"message": "no such preset"}}', FailureKind.INVALID_RESPONSE, "no such preset"),
        (b'{"error": "no such preset", "choices": []}', FailureKind.INVALID_RESPONSE, "no such preset"),
        (b'{"message": "no such preset"}', FailureKind.INVALID_RESPONSE, "no such preset"),
        (b'{"statusCode": 429, "message": "slowly"}', FailureKind.RATE_LIMIT, "slowly"),
        (b'{"error": {"code": "401", "message": "who?"}}', FailureKind.AUTHENTICATION, "who?"),
        (b'{"error": {"status": 400, "message": "what?"}}', FailureKind.BAD_REQUEST, "what?"),
        (b'{"error": {"code": "content_filter", "message": "no"}}', FailureKind.CONTENT_FILTER, "no"),
        (b'{"choices": []}', FailureKind.INVALID_RESPONSE, "choices"),
        (b'{"choices": [{"text": "x"}]}', FailureKind.INVALID_RESPONSE, "choices"),
        (b'{"choices": [{"message": {"content": 3}}]}', FailureKind.INVALID_RESPONSE, "choices"),
        (b'{"choices": [{"message": {"content": "x"}, "finish_reason": [1]}]}', FailureKind.INVALID_RESPONSE, "choices"),
        (b"<html>busy</html>", FailureKind.INVALID_RESPONSE, "HTML"),
    ],
)
def test_a_200_without_an_answer_is_the_error_that_it_tells_of(body: bytes, kind: FailureKind, words: str) -> None:
    answer = ADAPTER.answer(CALL, 200, {}, body)
    assert answer.failure is not None
    assert answer.failure.kind is kind
    assert words in answer.failure.message
    assert (answer.body, answer.usage) == (b"", NO_USAGE)


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, b'{"error": {"message": "bad"}}', FailureKind.BAD_REQUEST, "HTTP 400: bad"),
        (401, b'{"error": "Unauthorized"}', FailureKind.AUTHENTICATION, "HTTP 401: Unauthorized"),
        (
            400,
            b'{"statusCode": 400, "error": "Bad Request", "message": ["a", "b"]}',
            FailureKind.BAD_REQUEST,
            "HTTP 400: Bad Request: a, b",
        ),
        (400, b'{"error_type": "MCP", "message": "connect"}', FailureKind.BAD_REQUEST, "HTTP 400: connect"),
        (400, b'{"error": {"code": "context_length_exceeded"}}', FailureKind.CONTEXT_TOO_LONG, '{"code"'),
        (429, b"[1]", FailureKind.RATE_LIMIT, "HTTP 429: [1]"),
        (
            502,
            b"<!DOCTYPE html>\n<html><title>Bad Gateway</title>",
            FailureKind.SERVER,
            "HTTP 502: an HTML page: Bad Gateway",
        ),
        (502, b"<html>", FailureKind.SERVER, "HTTP 502: an HTML page"),
        (400, b'{"message": "exceeds the context window"}', FailureKind.CONTEXT_TOO_LONG, "context window"),  # words alone
        (401, b'{"message": "invalid apiKey: abc123def"}', FailureKind.AUTHENTICATION, "invalid apiKey: ***"),
        (500, b"", FailureKind.SERVER, "HTTP 500: (empty)"),
    ],
)
def test_an_error_says_what_laas_said(status: int, body: bytes, kind: FailureKind, message: str) -> None:
    answer = ADAPTER.answer(CALL, status, {"retry-after": "3"}, body)
    failure = answer.failure
    assert failure is not None
    assert (failure.kind, failure.status, failure.retry_after) == (kind, status, 3.0)
    assert message in failure.message
    assert orjson.loads(answer.body)["error"]["message"] == failure.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "choices", "content", "code", "created", "tool_calls", "finish_reason", "usage"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from([200, 400, 500]), JSON.map(orjson.dumps) | st.binary(max_size=50))
def test_no_answer_makes_it_raise(status: int, body: bytes) -> None:
    answer = ADAPTER.answer(CALL, status, {}, body)
    assert (answer.failure is None) == (answer.parsed is not None)
    if answer.body:
        orjson.loads(answer.body)
