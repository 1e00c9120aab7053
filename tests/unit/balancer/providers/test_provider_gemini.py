"""Gemini's wire format: what the table for all formats does not ask."""

import logging
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from google.genai.types import GenerateContentResponse
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from balancer.endpoint import Endpoint
from balancer.outcome import Failure, FailureKind, Usage
from balancer.providers import Answer, Call, RequestRefused, StreamFault, Translation
from balancer.providers.gemini.adapter import GeminiAdapter

ADAPTER = GeminiAdapter()
ENDPOINT = Endpoint("https://generativelanguage.googleapis.com/v1beta", provider="gemini", api_key="k")
HI = [{"role": "user", "content": "Hi"}]
CALL = Call("/models/g:generateContent", b"", "g")
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Seoul"}'}}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "Sunny"}


def request(endpoint: Endpoint = ENDPOINT, **fields: Any) -> dict[str, Any]:
    """Return the body that is sent for a chat with those fields."""
    return orjson.loads(ADAPTER.call(endpoint, "/chat/completions", {"model": "g", "messages": HI, **fields}).body)


def refusal(endpoint: Endpoint = ENDPOINT, **fields: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        request(endpoint, **fields)
    return caught.value


def message(**fields: Any) -> list[dict[str, Any]]:
    return [{"role": "user", **fields}]


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return ADAPTER.answer(CALL, status, headers or {}, body if isinstance(body, bytes) else orjson.dumps(body))


def candidate(*parts: dict[str, Any], reason: str | None = "STOP", **fields: Any) -> dict[str, Any]:
    ending = {"finishReason": reason} if reason else {}
    return {"content": {"role": "model", "parts": list(parts)}, "index": 0, **ending, **fields}


def said(*candidates: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return an answer of Gemini's, as its own SDK would read it."""
    whole = {"candidates": list(candidates), **fields}
    GenerateContentResponse.model_validate(whole)
    return whole


def choice(*candidates: dict[str, Any]) -> dict[str, Any]:
    """Return the first choice of the completion that candidates make."""
    parsed = answer(said(*candidates)).parsed
    assert parsed is not None
    ChatCompletion.model_validate(parsed)
    return parsed["choices"][0]


def read(translation: Translation, *events: Any) -> list[Mapping[str, Any]]:
    """Return the chunks that events make, with what is told at the end."""
    chunks: list[Mapping[str, Any]] = []
    for event in events:
        chunks += translation.take(event if isinstance(event, bytes) else orjson.dumps(event))
    chunks += translation.close()
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    return chunks


def fault(*events: Any) -> Failure:
    with pytest.raises(StreamFault) as caught:
        read(ADAPTER.translation(CALL), *events)
    return caught.value.failure


class TestWhereARequestGoes:
    @pytest.mark.parametrize(
        ("model", "path"),
        [
            ("gemini-3.8-flash", "/models/gemini-3.8-flash"),
            ("models/gemini-3.8-flash", "/models/gemini-3.8-flash"),  # as Google's own list has it
            ("../../x?key=1#", "/models/..%2F..%2Fx%3Fkey%3D1%23"),
            ("a:batchGenerateContent", "/models/a%3AbatchGenerateContent"),
            ("한 글", "/models/%ED%95%9C%20%EA%B8%80"),
        ],
    )
    def test_no_name_of_a_model_leads_elsewhere(self, model: str, path: str) -> None:
        call = ADAPTER.call(ENDPOINT, "/chat/completions", {"model": model, "messages": HI})
        assert call.path == f"{path}:generateContent"
        assert not call.stream

    def test_a_stream_has_a_place_of_its_own(self) -> None:
        call = ADAPTER.call(ENDPOINT, "/chat/completions", {"model": "g", "messages": HI, "stream": True})
        assert call.path == "/models/g:streamGenerateContent?alt=sse"
        assert call.stream
        assert b"stream" not in call.body

    @pytest.mark.parametrize("model", [None, "", "models/", 5, ["g"], {"a": 1}, "x" * 300, "\ud800"])
    def test_what_is_no_name_is_refused(self, model: Any) -> None:
        assert refusal(model=model).param == "model"

    def test_the_endpoint_names_a_model_and_limits(self) -> None:
        endpoint = Endpoint("http://h/v1beta", models={"fast": "gemini-3.8-flash"}, max_tokens=10, temperature=0.5)
        call = ADAPTER.call(endpoint, "/chat/completions", {"model": "fast", "messages": HI, "max_tokens": 99})
        assert call.model == "gemini-3.8-flash"
        assert orjson.loads(call.body)["generationConfig"] == {"temperature": 0.5, "maxOutputTokens": 10}
        assert request(endpoint, model=None)["generationConfig"] == {"temperature": 0.5, "maxOutputTokens": 10}

    def test_other_paths_are_refused(self) -> None:
        with pytest.raises(RequestRefused, match="/embeddings"):
            ADAPTER.call(ENDPOINT, "/embeddings", {"model": "g", "input": "x"})

    def test_the_key_goes_into_a_header(self) -> None:
        assert ADAPTER.headers(ENDPOINT) == {"content-type": "application/json", "x-goog-api-key": "k"}
        assert "x-goog-api-key" not in ADAPTER.headers(Endpoint("http://h/v1beta"))


class TestFields:
    def test_sampling_keeps_its_values_under_other_names(self) -> None:
        fields = {"top_p": 0.9, "top_k": 5, "seed": 7, "presence_penalty": 0.1, "frequency_penalty": 0.2, "n": 2, "stop": "END"}
        assert request(**fields)["generationConfig"] == {
            "topP": 0.9, "topK": 5, "seed": 7, "presencePenalty": 0.1, "frequencyPenalty": 0.2, "candidateCount": 2,
            "stopSequences": ["END"],
        }  # fmt: skip

    def test_nothing_is_sent_that_nobody_said(self) -> None:
        assert request(stream_options={}, user="u", temperature=None) == {
            "contents": [{"role": "user", "parts": [{"text": "Hi"}]}]
        }

    @pytest.mark.parametrize(
        ("model", "effort", "thinking"),
        [
            ("gemini-3.8-flash", "low", {"thinkingLevel": "LOW"}),
            ("gemini-3.8-flash", "max", {"thinkingLevel": "XHIGH"}),
            ("gemini-3.8-flash", "none", {"thinkingLevel": "MINIMAL"}),  # which can't stop thinking
            ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
            ("gemini-2.5-flash", "medium", {"thinkingBudget": 8192}),  # no levels before Gemini 3
            ("tuned-by-us", "medium", {"thinkingLevel": "MEDIUM"}),
        ],
    )
    def test_effort_is_said_as_the_model_knows_it(self, model: str, effort: str, thinking: dict[str, Any]) -> None:
        assert request(model=model, reasoning_effort=effort)["generationConfig"] == {"thinkingConfig": thinking}

    def test_formats(self) -> None:
        assert request(response_format={"type": "json_object"})["generationConfig"] == {"responseMimeType": "application/json"}
        assert "generationConfig" not in request(response_format={"type": "text"})

    def test_what_gemini_can_not_do_is_refused_unless_it_may_be_dropped(self) -> None:
        assert refusal(logit_bias={"1": 2}).param == "logit_bias"
        assert "generationConfig" not in request(Endpoint("http://h/v1beta", drop_params=True), logit_bias={"1": 2})

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"web_search_options": {}}, "web_search_options"),
            ({"functions": []}, "functions"),
            ({"parallel_tool_calls": False}, "parallel_tool_calls"),
            ({"reasoning_effort": "hard"}, "reasoning_effort"),
            ({"reasoning_effort": ["low"]}, "reasoning_effort"),
            ({"stop": 5}, "stop"),
            ({"stop": ["a", 5]}, "stop"),
            ({"response_format": {"type": "grammar"}}, "response_format.type"),
            ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
            ({"tools": "all"}, "tools"),
            ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type"),
            ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
            ({"tool_choice": "some"}, "tool_choice"),
            ({"tool_choice": {"type": "function"}}, "tool_choice"),
            ({"messages": None}, "messages"),
            ({"messages": []}, "messages"),
            ({"messages": "Hi"}, "messages"),
            ({"messages": ["Hi"]}, "messages[0]"),
            ({"messages": [{"role": "system", "content": "x"}]}, "messages"),  # Google wants contents
            ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
            ({"messages": [{"role": [], "content": "x"}]}, "messages[0].role"),
            ({"messages": message(content=None)}, "messages[0].content"),
            ({"messages": message(content=[])}, "messages[0].content"),
            ({"messages": message(content="x", tool_calls=[TOOL_CALL])}, "messages[0].tool_calls"),
            ({"messages": message(content=["x"])}, "messages[0].content[0].type"),
            ({"messages": message(content=[{"type": "video_url"}])}, "messages[0].content[0].type"),
            ({"messages": message(content=[{"type": "text"}])}, "messages[0].content[0].text"),
            ({"messages": message(content=[{"type": "image_url"}])}, "messages[0].content[0].image_url"),
            ({"messages": message(content=[{"type": "file", "file": {"file_id": "f"}}])}, "messages[0].content[0].file"),
            ({"messages": message(content=[{"type": "input_audio"}])}, "messages[0].content[0].input_audio"),
            ({"messages": [*HI, {"role": "assistant", "content": [{"type": "image_url"}]}]}, "messages[1].content[0]"),
            ({"messages": [*HI, {"role": "assistant", "tool_calls": "x"}]}, "messages[1].tool_calls"),
            ({"messages": [*HI, {"role": "assistant", "tool_calls": ["x"]}]}, "messages[1].tool_calls[0]"),
            ({"messages": [*HI, {"role": "assistant", "audio": {"id": "a"}}]}, "messages[1].audio"),
            ({"messages": [*HI, RESULT]}, "messages[1].tool_call_id"),  # nobody called
            (
                {
                    "messages": [
                        *HI,
                        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "[1]"}}]},
                    ]
                },
                "messages[1].tool_calls[0].function.arguments",
            ),
        ],
    )
    def test_a_refusal_names_the_place(self, fields: dict[str, Any], param: str) -> None:
        assert refusal(**fields).param == param

    @pytest.mark.parametrize(
        ("call", "param"),
        [
            ({"function": {"name": "f"}}, "id"),
            ({"id": "", "function": {"name": "f"}}, "id"),
            ({"id": "c", "function": {"arguments": "{}"}}, "function.name"),
            ({"id": "c", "function": {"name": "f", "arguments": "{"}}, "function.arguments"),
            ({"id": "c", "function": {"name": "f", "arguments": {"x": 1}}}, "function.arguments"),
        ],
    )
    def test_a_call_that_is_none_is_refused(self, call: dict[str, Any], param: str) -> None:
        made = {"role": "assistant", "tool_calls": [call]}
        assert refusal(messages=[*HI, made]).param == f"messages[1].tool_calls[0].{param}"

    def test_content_that_is_none_is_refused(self) -> None:
        assert refusal(messages=[{"role": "system", "content": 5}, *HI]).param == "messages[0].content"

    def test_nesting_that_json_can_not_hold_is_refused(self) -> None:
        schema: dict[str, Any] = {}
        for _ in range(300):
            schema = {"items": schema}
        assert "JSON" in refusal(tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}]).reason


class TestMessages:
    def test_audio_goes_along(self) -> None:
        parts = [{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}]
        assert request(messages=message(content=parts))["contents"][0]["parts"] == [
            {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}
        ]

    @pytest.mark.parametrize(
        ("url", "media_type"),
        [("https://h/a.PNG?size=1", "image/png"), ("https://h/a.pdf", "application/pdf"), ("https://h/picture", None)],
    )
    def test_an_address_tells_its_type_if_it_can(self, url: str, media_type: str | None) -> None:
        part = request(messages=message(content=[{"type": "image_url", "image_url": {"url": url}}]))["contents"][0]["parts"][0]
        assert part == {"fileData": {"fileUri": url, **({"mimeType": media_type} if media_type else {})}}

    def test_an_answer_goes_back_without_its_reasoning(self) -> None:
        back = {
            "role": "assistant",
            "content": "Yes",
            "refusal": None,
            "annotations": [],
            "reasoning_content": "Hm",
            "audio": None,
        }
        assert request(messages=[*HI, back, *HI])["contents"][1] == {"role": "model", "parts": [{"text": "Yes"}]}

    def test_an_empty_answer_is_left_out(self) -> None:
        assert [c["role"] for c in request(messages=[*HI, {"role": "assistant", "content": ""}, *HI])["contents"]] == [
            "user",
            "user",
        ]

    def test_results_of_calls_made_at_once_go_back_together(self) -> None:
        other = {**TOOL_CALL, "id": "call_2", "function": {"name": "time", "arguments": ""}}
        made = {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL, other]}
        results = [RESULT, {"role": "tool", "name": "time", "tool_call_id": "call_2", "content": [{"type": "text", "text": "9"}]}]
        contents = request(messages=[*HI, made, *results, *HI])["contents"]
        assert contents[2] == {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "call_1", "name": "weather", "response": {"output": "Sunny"}}},
                {"functionResponse": {"id": "call_2", "name": "time", "response": {"output": "9"}}},
            ],
        }
        assert len(contents) == 4

    def test_a_signature_comes_back_with_its_call(self) -> None:
        call = {"functionCall": {"id": "call_1", "name": "weather", "args": {}}, "thoughtSignature": "c2ln"}
        given_out = choice(candidate(call))["message"]
        sent = request(model="gemini-3.8-flash", messages=[*HI, given_out, RESULT])
        assert sent["contents"][1]["parts"] == [call]

    @pytest.mark.parametrize(("model", "signature"), [("gemini-3.8-flash", True), ("gemini-2.5-flash", False), ("g", False)])
    def test_calls_of_another_model_are_marked_where_signatures_are_wanted(self, model: str, signature: bool) -> None:
        made = {"role": "assistant", "content": "Look:", "tool_calls": [TOOL_CALL, {**TOOL_CALL, "id": "call_2"}]}
        parts = request(model=model, messages=[*HI, made])["contents"][1]["parts"]
        marks = [part.get("thoughtSignature") for part in parts]
        assert marks == [None, "skip_thought_signature_validator" if signature else None, None]


class TestAnswers:
    def test_thoughts_are_no_content(self) -> None:
        found = choice(candidate({"text": "Let me think.", "thought": True}, {"text": "Four"}, {"text": "."}))
        assert found["message"]["content"] == "Four."
        assert found["message"]["reasoning_content"] == "Let me think."

    def test_tokens(self) -> None:
        counts = {
            "promptTokenCount": 100, "toolUsePromptTokenCount": 5, "cachedContentTokenCount": 60, "candidatesTokenCount": 20,
            "thoughtsTokenCount": 8, "totalTokenCount": 133,
        }  # fmt: skip
        found = answer(said(candidate({"text": "x"}), usageMetadata=counts))
        assert found.usage == Usage(prompt=105, completion=28, cached=60, reasoning=8)
        assert found.parsed is not None and found.parsed["usage"]["total_tokens"] == 133

    @pytest.mark.parametrize(
        "counts", [None, [], {"promptTokenCount": "9"}, {"promptTokenCount": -1}, {"promptTokenCount": True}]
    )
    def test_a_count_that_is_none_counts_nothing(self, counts: Any) -> None:
        assert answer({"candidates": [candidate()], "usageMetadata": counts}).usage == Usage()

    @pytest.mark.parametrize(
        ("reason", "word"),
        [
            ("STOP", "stop"),
            ("MAX_TOKENS", "length"),
            ("SAFETY", "content_filter"),
            ("RECITATION", "content_filter"),
            ("PROHIBITED_CONTENT", "content_filter"),
            ("MODEL_ARMOR", "content_filter"),
            (None, "stop"),
        ],
    )
    def test_the_reason_for_an_end(self, reason: str | None, word: str) -> None:
        assert choice(candidate({"text": "x"}, reason=reason))["finish_reason"] == word

    def test_an_unknown_reason_is_a_stop_and_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, "balancer"):
            whole = answer({"candidates": [candidate({"text": "Hi"}, reason="MADE_UP_TOMORROW")]})
        assert whole.parsed is not None and whole.parsed["choices"][0]["finish_reason"] == "stop"
        assert "MADE_UP_TOMORROW" in caplog.text

    @pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "OTHER", "MADE_UP_TOMORROW"])
    def test_an_end_without_content_that_nobody_wants_is_a_failure(self, reason: str) -> None:
        whole = answer({"candidates": [candidate(reason=reason)]})
        assert whole.failure is not None and whole.failure.kind is FailureKind.INVALID_RESPONSE
        assert reason in whole.failure.message

    def test_log_probabilities_are_said_in_openais_shape(self) -> None:
        token = {"token": "Hi", "tokenId": 5, "logProbability": -0.1}
        result = {"chosenCandidates": [token], "topCandidates": [{"candidates": [token, {"token": "Ho", "logProbability": -3}]}]}
        found = choice({**candidate({"text": "Hi"}), "logprobsResult": result})["logprobs"]
        said = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105]}
        others = [said, {"token": "Ho", "logprob": -3, "bytes": [72, 111]}]
        assert found == {"content": [{**said, "top_logprobs": others}], "refusal": None}

    def test_a_call_cut_off_is_not_one_to_be_made(self) -> None:
        assert choice(candidate({"functionCall": {"name": "f", "args": {}}}, reason="MAX_TOKENS"))["finish_reason"] == "length"

    def test_calls_have_ids_of_their_own(self) -> None:
        calls = [
            {"functionCall": {"id": "a", "name": "f"}},
            {"functionCall": {"id": "a", "name": "f"}},
            {"functionCall": {"name": "f"}},
        ]
        found = choice(candidate(*calls))["message"]["tool_calls"]
        assert found[0]["id"] == "a"
        assert len({call["id"] for call in found}) == 3
        assert [call["function"]["arguments"] for call in found] == ["{}"] * 3

    def test_a_refused_prompt_is_an_empty_answer(self) -> None:
        blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 9}}
        found = answer(blocked)
        assert found.failure is None
        assert found.parsed is not None
        ChatCompletion.model_validate(found.parsed)
        assert found.parsed["choices"][0]["finish_reason"] == "content_filter"
        assert found.parsed["choices"][0]["message"]["content"] == ""
        assert found.usage.prompt == 9

    @pytest.mark.parametrize(
        "left", [{"finishReason": "MAX_TOKENS"}, {"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}]
    )
    def test_all_spent_on_thinking(self, left: dict[str, Any]) -> None:
        found = choice(left)
        assert (found["message"]["content"], found["finish_reason"]) == ("", "length")

    def test_several_candidates(self) -> None:
        parsed = answer(said(candidate({"text": "a"}), candidate({"text": "b"}, index=1))).parsed
        assert parsed is not None
        assert [(c["index"], c["message"]["content"]) for c in parsed["choices"]] == [(0, "a"), (1, "b")]

    def test_the_model_that_answered_is_named(self) -> None:
        parsed = answer(said(candidate(), modelVersion="gemini-3.8-flash-001", responseId="r1")).parsed
        assert parsed is not None
        assert (parsed["model"], parsed["id"]) == ("gemini-3.8-flash-001", "r1")

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"candidates": []},
            {"candidates": {}},
            {"candidates": ["x"]},
            {"candidates": [candidate("x")]},  # type: ignore[arg-type]
            {"candidates": [candidate({"functionCall": {"args": {}}})]},
            {"candidates": [candidate({"functionCall": None})]},
            {"candidates": [candidate()], "error": {"message": "no"}},
            [{"error": {"message": "no"}}],
            b'{"error":{"message":' + b"[" * 1000 + b"]" * 1000 + b"}}",
            b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":'
            + b"[" * 600
            + b"]" * 600
            + b"}}}]}}]}",
        ],
    )
    def test_what_is_no_answer_is_a_failure(self, body: Any) -> None:
        failure = answer(body).failure
        assert failure is not None
        assert failure.kind is FailureKind.INVALID_RESPONSE


class TestErrors:
    @staticmethod
    def error(code: int, status: str, message: str = "no", *details: dict[str, Any]) -> dict[str, Any]:
        return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}

    def test_a_list_of_one_is_the_same(self) -> None:
        body = self.error(429, "RESOURCE_EXHAUSTED", "slow down", {"@type": "x", "retryDelay": "57.238747106s"})
        single, listed = answer(body, 429), answer([body], 429)
        assert single == listed
        assert single.failure == Failure(FailureKind.RATE_LIMIT, "HTTP 429: slow down", 429, 57.238747106)
        assert orjson.loads(single.body)["error"] == {
            "message": "slow down", "type": "gemini_error", "param": None, "code": "RESOURCE_EXHAUSTED",
        }  # fmt: skip

    @pytest.mark.parametrize("delay", [None, 5, "soon", "-3s", "1e9s", "9" * 400 + "s", [["1s"]]])
    def test_a_delay_that_is_none(self, delay: Any) -> None:
        failure = answer(self.error(429, "RESOURCE_EXHAUSTED", "no", {"retryDelay": delay}), 429, {"retry-after": "3"}).failure
        assert failure is not None and failure.retry_after == 3

    @pytest.mark.parametrize(
        ("code", "status", "kind"),
        [
            (400, "FAILED_PRECONDITION", FailureKind.BAD_REQUEST),
            (401, "UNAUTHENTICATED", FailureKind.AUTHENTICATION),
            (403, "PERMISSION_DENIED", FailureKind.AUTHENTICATION),
            (404, "NOT_FOUND", FailureKind.MODEL_NOT_FOUND),
            (499, "CANCELLED", FailureKind.SERVER),  # nothing that the request did
            (500, "INTERNAL", FailureKind.SERVER),
            (502, "", FailureKind.SERVER),
            (503, "UNAVAILABLE", FailureKind.OVERLOADED),
            (504, "DEADLINE_EXCEEDED", FailureKind.TIMEOUT),
        ],
    )
    def test_kinds(self, code: int, status: str, kind: FailureKind) -> None:
        failure = answer(self.error(code, status), code).failure
        assert failure is not None and failure.kind is kind

    def test_only_a_limit_of_the_day_is_a_spent_quota(self) -> None:
        for quota, kind in (("PerMinutePerProject", FailureKind.RATE_LIMIT), ("PerDayPerProject", FailureKind.QUOTA)):
            detail = {"violations": [None, {}, {"quotaId": f"GenerateRequests{quota}"}]}
            failure = answer(self.error(429, "RESOURCE_EXHAUSTED", "no", detail), 429).failure
            assert failure is not None and failure.kind is kind

    @pytest.mark.parametrize(("quota", "out"), [("PerDayPerProject", True), ("PerDayPerProjectPerModel-FreeTier", False)])
    def test_a_spent_day_of_one_model_leaves_the_endpoint_for_the_others(self, quota: str, out: bool) -> None:
        detail = {"violations": [{"quotaId": f"GenerateRequests{quota}"}]}
        failure = answer(self.error(429, "RESOURCE_EXHAUSTED", "no", detail), 429).failure
        assert failure is not None
        assert (failure.kind, failure.takes_endpoint_out) == (FailureKind.QUOTA, out)
        assert (failure.is_the_models, failure.passes) == (not out, True)

    def test_a_key_is_not_shown(self) -> None:
        text = "Permission denied: Consumer 'api_key:AIzaSyD-0123456789abcdef' has been suspended."
        found = answer(self.error(403, "PERMISSION_DENIED", text), 403)
        assert found.failure is not None
        assert "AIza" not in found.failure.message
        assert b"AIza" not in found.body
        assert "has been suspended" in found.failure.message

    @pytest.mark.parametrize(
        "body", [b"", b"<html>", b"[]", b"null", b'{"error": "no"}', b'{"error": {"message": {}}}', b"[[[]]]"]
    )
    def test_other_bodies_are_shown(self, body: bytes) -> None:
        failure = answer(body, 502).failure
        assert failure is not None
        assert failure.kind is FailureKind.SERVER
        assert body.decode() in failure.message


class TestStreams:
    def test_the_last_counts_hold_and_come_once(self) -> None:
        events = [
            said(candidate({"text": "Hel"}, reason=None), usageMetadata={"promptTokenCount": 9, "candidatesTokenCount": 1}),
            said(candidate({"text": "lo"}), usageMetadata={"promptTokenCount": 9, "candidatesTokenCount": 3}),
            {"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4}},
        ]
        chunks = read(ADAPTER.translation(CALL), *events)
        assert [c["usage"]["completion_tokens"] for c in chunks if "usage" in c] == [4]
        assert chunks[-1]["choices"] == []
        assert len({chunk["id"] for chunk in chunks}) == 1

    def test_a_reason_before_the_last_words_does_not_end_the_answer(self) -> None:
        chunks = read(
            ADAPTER.translation(CALL), said(candidate({"text": "a"})), said(candidate({"text": "b"}, reason="MAX_TOKENS"))
        )
        endings = [(c["choices"][0]["delta"].get("content"), c["choices"][0]["finish_reason"]) for c in chunks[:-1]]
        assert endings == [("", None), ("a", None), ("b", None), (None, "length")]

    def test_a_stream_that_breaks_off_is_not_ended(self) -> None:
        event = said(candidate({"text": "a"}, reason=None), usageMetadata={"promptTokenCount": 9})
        chunks = read(ADAPTER.translation(CALL), event)
        assert not any(choice["finish_reason"] for chunk in chunks for choice in chunk["choices"])
        assert not any("usage" in chunk for chunk in chunks)
        assert read(ADAPTER.translation(CALL)) == []

    def test_one_of_two_candidates_breaks_off(self) -> None:
        chunks = read(ADAPTER.translation(CALL), said(candidate({"text": "a"}), candidate({"text": "b"}, reason=None, index=1)))
        assert not any(choice["finish_reason"] for chunk in chunks for choice in chunk["choices"])

    def test_two_candidates(self) -> None:
        chunks = read(ADAPTER.translation(CALL), said(candidate({"text": "a"}), candidate({"text": "b"}, index=1)))
        found = [(c["index"], c["delta"].get("content"), c["finish_reason"]) for chunk in chunks for c in chunk["choices"]]
        assert found == [(0, "", None), (0, "a", None), (1, "", None), (1, "b", None), (0, None, "stop"), (1, None, "stop")]

    def test_thoughts_come_beside_the_content(self) -> None:
        chunks = read(ADAPTER.translation(CALL), said(candidate({"text": "Hm", "thought": True}, {"text": "Yes"})))
        assert [chunk["choices"][0]["delta"] for chunk in chunks[1:3]] == [{"reasoning_content": "Hm"}, {"content": "Yes"}]

    def test_calls_in_several_events_are_counted_through(self) -> None:
        call = {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"}
        chunks = read(ADAPTER.translation(CALL), said(candidate(call, reason=None)), said(candidate(call)))
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
        calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
        assert [call["index"] for call in calls] == [0, 1]
        assert len({call["id"] for call in calls}) == 2
        assert calls[0]["extra_content"] == {"google": {"thought_signature": "c2ln"}}
        assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"

    def test_a_refused_prompt(self) -> None:
        chunks = read(
            ADAPTER.translation(CALL), {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 9}}
        )
        assert [c["finish_reason"] for chunk in chunks for c in chunk["choices"]] == [None, "content_filter"]
        assert chunks[-1]["usage"]["prompt_tokens"] == 9

    @pytest.mark.parametrize(
        "event", [b"{", b"[1,2]", b"5", {"candidates": ["x"]}, {"candidates": [candidate({"functionCall": 1})]}]
    )
    def test_an_unreadable_event(self, event: Any) -> None:
        assert fault(event).kind is FailureKind.INVALID_RESPONSE

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            ({"code": 503, "message": "busy", "status": "UNAVAILABLE"}, FailureKind.OVERLOADED),
            ({"status": "RESOURCE_EXHAUSTED", "message": "busy"}, FailureKind.RATE_LIMIT),
            ({"message": "busy"}, FailureKind.SERVER),
        ],
    )
    def test_an_error_in_the_stream(self, error: dict[str, Any], kind: FailureKind) -> None:
        for event in ({"error": error}, [{"error": error}]):
            failure = fault(said(candidate({"text": "a"}, reason=None)), event)
            assert failure.kind is kind
            assert "busy" in failure.message


class TestModels:
    def test_those_that_chat_are_listed(self) -> None:
        listing = {
            "models": [
                {"name": "models/gemini-3.8-flash", "supportedGenerationMethods": ["generateContent"]},
                {"name": "models/embedding", "supportedGenerationMethods": ["embedContent"]},
                {"name": "plain"},
                {"name": 5},
                "x",
            ]
        }
        assert ADAPTER.models(orjson.dumps(listing)) == ["gemini-3.8-flash", "plain"]

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"models": 5}', b'{"models": [[]]}'])
    def test_anything_else_lists_none(self, body: bytes) -> None:
        assert ADAPTER.models(body) == []


# Anything that JSON can hold, with the words of the formats mixed in, so that it gets further than the first check.
WORDS = [
    "type", "text", "content", "role", "user", "assistant", "tool", "function", "name", "id", "image_url", "url", "file",
    "file_data", "data:image/png;base64,AA", "arguments", "{}", "candidates", "parts", "functionCall", "args", "finishReason",
    "STOP", "index", "error", "details", "violations", "message", "promptFeedback", "blockReason", "usageMetadata",
]  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.sampled_from(WORDS) | st.text()
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner, max_size=5),
    max_leaves=12,
)
PARTS = st.dictionaries(st.sampled_from(["text", "image_url", "file", "document_url", "input_audio"]), JSON, max_size=3)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]) | JSON},
    optional={
        "content": st.text()
        | st.lists(st.builds(lambda part, kind: {**part, "type": kind}, PARTS, st.sampled_from(WORDS)))
        | JSON,
        "tool_calls": st.lists(st.fixed_dictionaries({"id": JSON, "function": JSON}), max_size=2) | JSON,
        "tool_call_id": JSON,
        "extra_content": JSON,
    },
)
REQUESTS = st.fixed_dictionaries(
    {"model": st.just("gemini-3.8-flash") | JSON, "messages": st.lists(MESSAGES, min_size=1, max_size=3) | JSON},
    optional={
        name: JSON for name in ("tools", "tool_choice", "response_format", "stop", "reasoning_effort", "max_tokens", "n", "x")
    },
)
CANDIDATES = st.fixed_dictionaries(
    {}, optional={"content": st.fixed_dictionaries({"parts": st.lists(JSON) | JSON}), "finishReason": JSON, "index": JSON}
)
ANSWERS = JSON | st.fixed_dictionaries(
    {"candidates": st.lists(CANDIDATES, max_size=3) | JSON},
    optional={name: JSON for name in ("usageMetadata", "promptFeedback", "error", "modelVersion", "responseId")},
)


@settings(deadline=None)
@given(REQUESTS)
def test_whatever_is_asked_is_sent_or_refused(body: dict[str, Any]) -> None:
    endpoint = Endpoint("http://h/v1beta", max_tokens=100)
    try:
        call = ADAPTER.call(endpoint, "/chat/completions", body)
    except RequestRefused as exc:
        assert exc.param and exc.reason
    else:
        assert orjson.loads(call.body)["contents"]
        assert call.path.count("/") == 2


@settings(deadline=None)
@given(ANSWERS, st.sampled_from([200, 400, 429, 503]))
def test_whatever_is_answered_is_a_completion_or_a_failure(body: Any, status: int) -> None:
    found = answer(orjson.dumps(body, default=str), status)
    if found.failure is None:
        ChatCompletion.model_validate(orjson.loads(found.body))
        assert orjson.loads(found.body) == found.parsed
    else:
        assert found.failure.message


@settings(deadline=None)
@given(st.lists(ANSWERS, max_size=4))
def test_whatever_is_streamed_is_chunks_or_a_fault(events: list[Any]) -> None:
    try:
        chunks = read(ADAPTER.translation(CALL), *events)
    except StreamFault as exc:
        assert exc.failure.message
    else:
        assert sum("usage" in chunk for chunk in chunks) <= 1


@settings(deadline=None)
@given(st.binary())
def test_bytes_that_are_nothing_are_a_failure(body: bytes) -> None:
    assert answer(body).failure is not None
    assert answer(body, 500).failure is not None
    ADAPTER.models(body)
