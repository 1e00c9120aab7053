"""OpenAI's Responses API: what a chat becomes there, and what comes of its answers. The contract's table shows the usual."""

from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from balancer.endpoint import Endpoint
from balancer.outcome import FailureKind, Usage
from balancer.providers import Answer, Call, RequestRefused, StreamFault
from balancer.providers.openai.adapter import OpenAIAdapter

ADAPTER = OpenAIAdapter()
OPTIONS = {"api": "responses"}
ENDPOINT = Endpoint("http://h/v1", options=OPTIONS)
HI = [{"role": "user", "content": "Hi"}]


def call(endpoint: Endpoint = ENDPOINT, **fields: Any) -> Call:
    return ADAPTER.call(endpoint, "/chat/completions", {"model": "m", "messages": HI, **fields})


def asked(endpoint: Endpoint = ENDPOINT, **fields: Any) -> dict[str, Any]:
    sent: dict[str, Any] = orjson.loads(call(endpoint, **fields).body)
    return sent


def answer(**fields: Any) -> Answer:
    response = {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "m-1",
        "output": [],
        "error": None,
        **fields,
    }
    return ADAPTER.answer(call(), 200, {}, orjson.dumps(response))


def message(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(parts)}


def text(words: str) -> dict[str, Any]:
    return {"type": "output_text", "text": words, "annotations": []}


def test_only_chats_are_translated() -> None:
    assert call().path == "/responses"
    other = ADAPTER.call(ENDPOINT, "/completions", {"model": "m", "prompt": "x"})
    assert (other.path, orjson.loads(other.body)) == ("/completions", {"model": "m", "prompt": "x"})


def test_a_plain_chat_is_not_kept_at_openai() -> None:
    assert asked() == {"model": "m", "input": [{"role": "user", "content": "Hi"}], "store": False}
    assert asked(store=True)["store"] is True


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"max_tokens": 5}, {"max_output_tokens": 5}),
        ({"max_completion_tokens": 7, "max_tokens": 5}, {"max_output_tokens": 7}),  # the newer name
        ({"temperature": 0, "top_p": 0.5}, {"temperature": 0, "top_p": 0.5}),
        ({"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
        ({"verbosity": "low"}, {"text": {"verbosity": "low"}}),
        (
            {"response_format": {"type": "json_object"}, "verbosity": "low"},
            {"text": {"format": {"type": "json_object"}, "verbosity": "low"}},
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": {"type": "object"}, "strict": True},
                }
            },
            {"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True}}},
        ),
        ({"n": 1, "modalities": ["text"], "stop": None, "logprobs": None}, {}),
        (
            {"user": "u", "metadata": {"a": "b"}, "prompt_cache_key": "k"},
            {"user": "u", "metadata": {"a": "b"}, "prompt_cache_key": "k"},
        ),
        ({"service_tier": "flex", "parallel_tool_calls": False}, {"service_tier": "flex", "parallel_tool_calls": False}),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),  # its usage always comes
        ({"tool_choice": "none"}, {"tool_choice": "none"}),
        ({"tools": []}, {}),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}]},  # not strict: left out, it would be so here
            {"tools": [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}]},
        ),
        (
            {
                "tools": [
                    {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"a": 1}, "strict": True}}
                ]
            },
            {"tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"a": 1}, "strict": True}]},
        ),
    ],
)
def test_fields_get_their_new_names(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    plain = asked()
    found = {name: value for name, value in asked(**fields).items() if name not in plain}
    assert found == sent


def test_the_endpoints_own_settings_are_put_in() -> None:
    endpoint = Endpoint("http://h/v1", options=OPTIONS, models={"m": "gpt-6-astra"}, max_tokens=9, temperature=0.5)
    sent = asked(endpoint, max_tokens=20)
    assert (sent["model"], sent["max_output_tokens"], sent["temperature"]) == ("gpt-6-astra", 9, 0.5)
    assert call(endpoint).model == "gpt-6-astra"


@pytest.mark.parametrize(
    ("messages", "instructions", "items"),
    [
        (
            [{"role": "system", "content": "a"}, {"role": "developer", "content": [{"type": "text", "text": "b"}]}, *HI],
            "a\n\nb",
            HI,
        ),
        ([*HI, {"role": "system", "content": "later"}], None, [*HI, {"role": "system", "content": "later"}]),  # keeps its place
        ([{"role": "user", "content": "Hi", "name": "Kim"}], None, HI),
        (
            [*HI, {"role": "assistant", "content": [{"type": "text", "text": "No. "}], "refusal": "I can't."}],
            None,
            [*HI, {"role": "assistant", "content": "No. I can't."}],
        ),
        (
            [{"role": "assistant", "content": [{"type": "refusal", "refusal": "I can't."}]}],
            None,
            [{"role": "assistant", "content": "I can't."}],
        ),
        ([{"role": "assistant", "content": None, "tool_calls": []}], None, []),
        (
            [{"role": "assistant", "content": "x", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": ""}}]}],
            None,
            [{"role": "assistant", "content": "x"}, {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}],
        ),
        (
            [{"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            None,
            [{"type": "function_call_output", "call_id": "c", "output": "ab"}],
        ),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "https://h/a.png", "detail": "low"}},
                        {"type": "file", "file": {"file_id": "file-1"}},
                    ],
                }
            ],
            None,
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_image", "image_url": "https://h/a.png", "detail": "low"},
                        {"type": "input_file", "file_id": "file-1"},
                    ],
                }
            ],
        ),
    ],
)
def test_messages_become_items(messages: list[Any], instructions: str | None, items: list[Any]) -> None:
    sent = asked(messages=messages)
    assert (sent.get("instructions"), sent["input"]) == (instructions, items)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop": ["END"]}, "stop"),
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"functions": []}, "functions"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),  # not the chat format's
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"tools": "x"}, "tools"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"messages": None}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": ["Hi"]}, "messages"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "system", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "assistant", "function_call": {"name": "f"}}]}, "messages[0].function_call"),
        ({"messages": [{"role": "assistant", "tool_calls": 5}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"type": "custom"}]}]}, "messages[0].tool_calls[0].function"),
    ],
)
def test_what_can_not_be_said_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        call(**fields)
    assert refused.value.param == param


def test_sampling_fields_are_left_out_where_the_endpoint_says_so() -> None:
    dropping = Endpoint("http://h/v1", options=OPTIONS, drop_params=True)
    assert asked(dropping, seed=1, presence_penalty=0.5) == asked()
    with pytest.raises(RequestRefused):
        call(dropping, stop="END")


def test_texts_are_joined_over_messages_and_reasoning_is_kept_apart() -> None:
    reasoning = {
        "type": "reasoning",
        "id": "rs",
        "summary": [{"type": "summary_text", "text": "Hm."}],
        "content": None,
        "encrypted_content": "x",
    }
    search = {"type": "web_search_call", "id": "ws", "status": "completed"}
    made = answer(output=[reasoning, message(text("Hello "), text("there")), search, message(text("!"))]).parsed
    assert made is not None
    ChatCompletion.model_validate(made)
    assert made["choices"][0]["message"]["content"] == "Hello there!"
    assert made["choices"][0]["message"]["reasoning_content"] == "Hm."
    assert (made["id"], made["model"], made["choices"][0]["finish_reason"]) == ("resp_1", "m-1", "stop")


def test_a_refusal_is_no_content() -> None:
    made = answer(output=[message({"type": "refusal", "refusal": "I won't."})]).parsed
    assert made is not None
    assert made["choices"][0]["message"] == {"role": "assistant", "content": None, "refusal": "I won't."}
    assert made["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"reason": "max_output_tokens"}, "length"),
        ({"reason": "content_filter"}, "content_filter"),
        ({"reason": "something_new"}, "length"),
        ({"reason": []}, "length"),
        (None, "length"),
    ],
)
def test_why_an_answer_is_incomplete(details: Any, reason: str) -> None:
    made = answer(status="incomplete", incomplete_details=details, output=[message(text("Once"))]).parsed
    assert made is not None and made["choices"][0]["finish_reason"] == reason


def test_tokens_have_other_names() -> None:
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
        "output_tokens": 8,
        "output_tokens_details": {"reasoning_tokens": 6},
    }
    found = answer(usage=usage)
    assert found.usage == Usage(9, 8, 4, 6, 3)
    assert found.parsed is not None and found.parsed["usage"]["total_tokens"] == 17
    assert answer(usage=None).usage == answer(usage={"input_tokens_details": 5}).usage == Usage()


FAILED = [
    ("server_error", FailureKind.SERVER),
    ("rate_limit_exceeded", FailureKind.RATE_LIMIT),
    ("vector_store_timeout", FailureKind.TIMEOUT),
    ("bio_policy", FailureKind.CONTENT_FILTER),
    ("image_content_policy_violation", FailureKind.CONTENT_FILTER),
    ("invalid_prompt", FailureKind.BAD_REQUEST),
    ("image_too_large", FailureKind.BAD_REQUEST),
    ("failed_to_download_image", FailureKind.BAD_REQUEST),
    ("insufficient_quota", FailureKind.QUOTA),
    ("context_length_exceeded", FailureKind.CONTEXT_TOO_LONG),
    ("something_new", FailureKind.SERVER),
]


@pytest.mark.parametrize(("code", "kind"), FAILED)
def test_why_a_response_failed(code: str, kind: FailureKind) -> None:
    error = {"code": code, "message": "boom with sk-12345678"}
    failure = answer(status="failed", error=error).failure
    assert failure is not None
    assert (failure.kind, failure.message) == (kind, "the response failed: boom with sk-***")
    with pytest.raises(StreamFault) as fault:
        event("response.failed", response={"status": "failed", "error": error})
    assert fault.value.failure.kind is kind
    with pytest.raises(StreamFault) as fault:
        event("error", **error)
    assert (fault.value.failure.kind, fault.value.failure.message) == (kind, failure.message)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"status": "queued"}, "`status`"),
        ({"status": "cancelled"}, "cancelled"),
        ({"status": "failed"}, "failed"),
        ({"status": {"odd": 1}}, "`status`"),
        ({"output": None}, "without `output`"),
        ({"output": ["x"]}, "`output[0]`"),
        ({"output": [{"type": "message", "content": "x"}]}, "`content`"),
        ({"output": [message({"type": "output_text", "text": 5})]}, "`text`"),
        ({"output": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "`call_id`"),
        ({"error": {"message": "boom"}}, "boom"),
    ],
)
def test_what_is_no_answer_says_so(fields: dict[str, Any], said: str) -> None:
    found = answer(**fields)
    assert (found.body, found.parsed) == (b"", None)
    assert found.failure is not None and found.failure.retryable
    assert said in found.failure.message


def event(kind: str, **fields: Any) -> Any:
    return ADAPTER.translation(call(stream=True)).take(orjson.dumps({"type": kind, **fields}))


def test_reasoning_and_refusals_are_streamed_in_fields_of_their_own() -> None:
    (chunk,) = event("response.reasoning_summary_text.delta", delta="Hm.", output_index=0)
    assert chunk["choices"][0]["delta"] == {"role": "assistant", "reasoning_content": "Hm."}
    (chunk,) = event("response.refusal.delta", delta="No.", output_index=0)
    assert chunk["choices"][0]["delta"] == {"role": "assistant", "refusal": "No."}


def test_arguments_that_come_in_one_piece_are_said_once() -> None:
    stream = ADAPTER.translation(call(stream=True))
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
    said = [
        *stream.take(orjson.dumps({"type": "response.output_item.added", "output_index": 3, "item": item})),
        *stream.take(orjson.dumps({"type": "response.function_call_arguments.done", "output_index": 3, "arguments": "{}"})),
        *stream.take(orjson.dumps({"type": "response.function_call_arguments.done", "output_index": 3, "arguments": "{}"})),
    ]
    pieces = [piece for chunk in said for piece in chunk["choices"][0]["delta"]["tool_calls"]]
    assert [piece["function"]["arguments"] for piece in pieces] == ["", "{}"]
    for chunk in said:
        ChatCompletionChunk.model_validate(chunk)


def test_the_end_is_the_last_event_whatever_follows() -> None:
    stream = ADAPTER.translation(call(stream=True))
    assert stream.take(b"[DONE]") == () and not stream.ended
    (last,) = stream.take(orjson.dumps({"type": "response.completed", "response": {"status": "completed"}}))
    assert stream.ended and last["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("kind", ["response.in_progress", "response.output_text.annotation.added", "response.something.new"])
def test_other_events_are_passed_over(kind: str) -> None:
    assert event(kind) == ()


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"null",
        b"{}",
        b'{"type": ["odd"]}',
        b'{"type": "response.output_text.delta"}',
        b'{"type": "response.output_text.delta", "delta": 5}',
        b'{"type": "response.completed", "response": "x"}',
        b'{"type": "response.output_item.added", "item": {"type": "function_call"}}',
        b'{"type": "response.output_item.added", "output_index": 1, "item": {"type": "function_call"}}',
        b'{"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "x"}',
    ],
)
def test_an_event_that_makes_no_sense_ends_the_stream(data: bytes) -> None:
    with pytest.raises(StreamFault) as fault:
        ADAPTER.translation(call(stream=True)).take(data)
    assert fault.value.failure.kind is FailureKind.INVALID_RESPONSE


def test_an_error_of_the_whole_request_is_openais() -> None:
    body = b'{"error": {"message": "no", "type": "invalid_request_error", "param": "input", "code": null}}'
    failure = ADAPTER.answer(call(), 400, {}, body).failure
    assert failure is not None and (failure.kind, failure.param) == (FailureKind.BAD_REQUEST, "input")
