"""Bedrock: what Converse is asked, and what its answers say."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from balancer.endpoint import Endpoint
from balancer.outcome import Usage
from balancer.providers import Call, RequestRefused, adapter_for
from balancer.providers.bedrock.answers import usage_of
from balancer.providers.bedrock.signing import region_of
from balancer.usage.pricing import cost_of

HERE = Endpoint("https://bedrock-runtime.eu-west-1.amazonaws.com", provider="bedrock", api_key="k")
CLAUDE, NOVA = "global.anthropic.claude-sonnet-5-5", "amazon.nova-pro-v1:0"
HI = [{"role": "user", "content": "Hi"}]
PDF = "data:application/pdf;base64,JVBERi0="
EPHEMERAL = {"type": "ephemeral"}
ADAPTER = adapter_for("bedrock")


def sent(model: str = NOVA, endpoint: Endpoint = HERE, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = orjson.loads(
        ADAPTER.call(endpoint, "/chat/completions", {"model": model, "messages": HI, **fields}).body
    )
    return made


def user(**part: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [part]}]}


def answered(**answer: Any) -> Any:
    whole = {"output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}}, "stopReason": "end_turn", **answer}
    return ADAPTER.answer(Call("/x", b"", NOVA), 200, {}, orjson.dumps(whole))


def test_the_model_stands_in_the_path() -> None:
    call = ADAPTER.call(HERE, "/chat/completions", {"model": NOVA, "messages": HI, "stream": True})
    assert (call.path, call.model, call.stream) == ("/model/amazon.nova-pro-v1%3A0/converse-stream", NOVA, True)
    arn = "arn:aws:bedrock:us-east-1:1:inference-profile/x"
    assert ADAPTER.call(HERE, "/chat/completions", {"model": arn, "messages": HI}).path.count("/") == 3


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"max_tokens": 5, "temperature": 0, "top_p": 1, "stop": "x"},
            {"inferenceConfig": {"maxTokens": 5, "temperature": 0, "topP": 1, "stopSequences": ["x"]}},
        ),
        ({"reasoning_effort": "low"}, {"outputConfig": {"effort": "low"}}),
        ({"thinking": {"type": "enabled", "budget_tokens": 2_000}}, {"outputConfig": {"effort": "medium"}}),
        ({"service_tier": "flex"}, {"serviceTier": {"type": "flex"}}),
        ({"service_tier": "auto"}, {}),
        ({"user": "u", "metadata": {"a": "b"}, "store": False}, {}),
    ],
)
def test_fields(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    made = sent(**fields)
    assert made.pop("messages") == [{"role": "user", "content": [{"text": "Hi"}]}]
    assert made == expected


def test_claudes_thinking_goes_in_its_own_words() -> None:
    thinking = {"type": "enabled", "budget_tokens": 2_000}
    assert sent(CLAUDE, thinking=thinking)["additionalModelRequestFields"] == {"thinking": thinking}
    blocks = [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "redacted_thinking", "data": "eA=="}]
    back = [*HI, {"role": "assistant", "content": "So.", "thinking_blocks": blocks}, *HI]
    assert sent(CLAUDE, messages=back)["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}},
        {"reasoningContent": {"redactedContent": "eA=="}},
        {"text": "So."},
    ]


def test_marks_for_the_cache_become_points() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}, "cache_control": EPHEMERAL}
    rules = {"type": "text", "text": "Rules.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    made = sent(
        messages=[
            {"role": "system", "content": [rules]},
            {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": EPHEMERAL}]},
        ],
        tools=[tool],
    )
    assert made["system"] == [{"text": "Rules."}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
    assert made["messages"] == [{"role": "user", "content": [{"text": "Hi"}, {"cachePoint": {"type": "default"}}]}]
    assert made["toolConfig"]["tools"][1] == {"cachePoint": {"type": "default"}}
    assert sent(cache_control=EPHEMERAL)["messages"][-1]["content"][-1] == {"cachePoint": {"type": "default"}}


def test_documents_have_names_of_their_own() -> None:
    parts = [{"type": "file", "file": {"filename": name, "file_data": PDF}} for name in ("a_b.pdf", "a_b.pdf", "é!.pdf")]
    text = {"type": "file", "file": {"filename": "n.txt", "file_data": "data:text/plain;base64,SGk="}}
    content = sent(messages=[{"role": "user", "content": [*parts, text]}])["messages"][0]["content"]
    assert [block["document"]["name"] for block in content] == ["a-b", "a-b (2)", "--", "n"]
    assert content[0]["document"] == {"format": "pdf", "name": "a-b", "source": {"bytes": "JVBERi0="}}
    assert content[3]["document"]["source"] == {"text": "Hi"}


def test_results_of_tools_say_whether_they_failed() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    messages = [
        *HI,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "", "is_error": True},
    ]
    made = sent(messages=messages)["messages"]
    assert made[1]["content"] == [{"toolUse": {"toolUseId": "c", "name": "f", "input": {}}}]
    assert made[2]["content"] == [{"toolResult": {"toolUseId": "c", "content": [{"text": ""}], "status": "error"}}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        (user(type="image_url", image_url={"url": "https://a/b.png"}), "messages[0].content[0].image_url.url"),
        (user(type="input_audio"), "messages[0].content[0].type"),
        ({"temperature": "warm"}, "temperature"),
        ({"top_p": True}, "top_p"),
        ({"stop": [""]}, "stop"),
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"cache_control": {"type": "ephemeral", "ttl": "2h"}}, "cache_control.ttl"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"}, "tool_choice"),
        ({"thinking": 5}, "thinking"),
        ({"invented": 1}, "invented"),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        sent(**fields)
    assert caught.value.param.startswith(param)
    assert "Anthropic" not in caught.value.reason


def test_fields_that_change_no_meaning_are_dropped_where_that_is_wanted() -> None:
    assert "seed" not in sent(endpoint=replace(HERE, drop_params=True), seed=1)


def test_usage_counts_the_cache() -> None:
    usage = {"inputTokens": 10, "outputTokens": 5, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 30}
    details = [{"ttl": "1h", "inputTokens": 20}, {"ttl": "5m", "inputTokens": 10}]
    assert usage_of({**usage, "cacheDetails": details}) == Usage(140, 5, 100, 0, 30, 20)
    assert usage_of({**usage, "inputTokens": -1, "cacheDetails": "x"}) == Usage(130, 5, 100, 0, 30, 0)


def test_the_tier_that_an_answer_names_is_reported_and_paid() -> None:
    usage = {"inputTokens": 1_000_000, "outputTokens": 0, "totalTokens": 1_000_000}
    answer = answered(usage=usage, serviceTier={"type": "flex"})
    assert answer.parsed["service_tier"] == "flex"
    standard = cost_of(answer.usage, HERE, NOVA)
    assert standard and cost_of(answer.usage, HERE, NOVA, "flex") == pytest.approx(standard / 2)


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_what_the_model_garbled_is_no_answer(reason: str) -> None:
    assert answered(stopReason=reason).failure is not None


def test_citations_are_text() -> None:
    content = [{"citationsContent": {"content": [{"text": "So it is."}], "citations": []}}]
    answer = answered(output={"message": {"role": "assistant", "content": content}})
    assert answer.parsed["choices"][0]["message"]["content"] == "So it is."


def test_the_region_is_an_option_or_in_the_address() -> None:
    assert region_of(HERE) == "eu-west-1"
    assert region_of(replace(HERE, options={"region": "us-east-1"})) == "us-east-1"
    assert region_of(replace(HERE, url="http://proxy:8080")) == ""
