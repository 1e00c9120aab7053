"""What Gemini's answers, errors and streams become."""

import logging
from typing import Any

import orjson
import pytest
from gemini_calls import (
    ADAPTER,
    CALL,
    answer,
    candidate,
    choice,
    fault,
    read,
    said,
)
from openai.types.chat import ChatCompletion

from balancer.outcome import Failure, FailureKind, Usage


class TestAnswers:
    def test_thoughts_are_no_content(self) -> None:
        found = choice(candidate({"text": "Let me think.", "thought": True}, {"text": "Four"}, {"text": "."}))
        assert found["message"]["content"] == "Four."
        assert found["message"]["reasoning_content"] == "Let me think."

    def test_images_stand_beside_the_text(self) -> None:
        picture = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
        found = choice(candidate({"text": "Here:"}, picture, {**picture, "thought": True}))
        assert (found["message"]["content"], found["message"]["images"]) == ("Here:", [image])
        assert choice(candidate(picture))["message"]["images"] == [image]
        chunks = read(ADAPTER.translation(CALL), said(candidate(picture)))
        assert [each["choices"][0]["delta"].get("images") for each in chunks if each["choices"]] == [None, [image], None]

    def test_what_is_no_image_is_none(self) -> None:
        odd: list[Any] = [None, 5, {}, {"mimeType": "audio/wav", "data": "x"}, {"mimeType": "image/png"}, {"data": "x"}]
        found = answer({"candidates": [candidate({"text": "x"}, *({"inlineData": each} for each in odd))]})
        assert found.parsed is not None
        assert "images" not in found.parsed["choices"][0]["message"]

    def test_tokens(self) -> None:
        counts = {
            "promptTokenCount": 100, "toolUsePromptTokenCount": 5, "cachedContentTokenCount": 60, "candidatesTokenCount": 20,
            "thoughtsTokenCount": 8, "totalTokenCount": 133,
        }  # fmt: skip
        found = answer(said(candidate({"text": "x"}), usageMetadata=counts))
        assert found.usage == Usage(prompt=105, completion=28, cached=60, reasoning=8)
        assert found.parsed is not None and found.parsed["usage"]["total_tokens"] == 133

    @pytest.mark.parametrize(
        ("named", "tier"),
        [
            ({"serviceTier": "flex"}, "flex"),
            ({"serviceTier": "standard"}, "default"),
            ({"trafficType": "ON_DEMAND_PRIORITY"}, "priority"),
            ({"serviceTier": "of next year"}, None),
            ({"serviceTier": ["flex"], "trafficType": 5}, None),
        ],
    )
    def test_the_tier_that_it_was_processed_in(self, named: dict[str, Any], tier: str | None) -> None:
        event = said(candidate({"text": "x"}), usageMetadata={"promptTokenCount": 9})
        event["usageMetadata"] |= named  # Google's SDK has no field for `serviceTier` in answers, which the service names
        whole = answer(event).parsed
        assert whole is not None and whole.get("service_tier") == tier
        assert read(ADAPTER.translation(CALL), event)[-1].get("service_tier") == tier

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
    def test_an_unusable_end_without_content_is_a_failure(self, reason: str) -> None:
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
