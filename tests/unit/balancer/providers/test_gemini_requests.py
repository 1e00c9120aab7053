"""What an OpenAI request becomes for Gemini."""

from typing import Any

import orjson
import pytest
from gemini_calls import ADAPTER, ENDPOINT, HI, RESULT, TOOL_CALL, candidate, choice, message, refusal, request

from balancer.endpoint import Endpoint
from balancer.providers import RequestRefused


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
    def test_tiers_safety_and_cached_content_go_beside_the_content(self) -> None:
        safety = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
        made = request(service_tier="flex", safety_settings=safety, cached_content="cachedContents/a")
        assert (made["serviceTier"], made["safetySettings"], made["cachedContent"]) == ("flex", safety, "cachedContents/a")
        assert request(service_tier="default")["serviceTier"] == "standard"
        assert "serviceTier" not in request(service_tier="auto")

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"service_tier": "scale"}, "service_tier"),
            ({"service_tier": 5}, "service_tier"),
            ({"safety_settings": {}}, "safety_settings"),
            ({"safety_settings": [{"category": 5}]}, "safety_settings[0]"),
            ({"safety_settings": [{"categry": "x"}]}, "safety_settings[0]"),
            ({"cached_content": 5}, "cached_content"),
            ({"modalities": ["audio"]}, "modalities"),
            ({"modalities": "image"}, "modalities"),
            ({"messages": [{"role": "assistant", "content": "x", "images": 5}]}, "messages[0].images"),
            ({"messages": [{"role": "assistant", "content": "x", "images": [5]}]}, "messages[0].images[0].image_url"),
        ],
    )
    def test_of_these_what_is_malformed_is_refused(self, fields: dict[str, Any], param: str) -> None:
        assert refusal(**fields).param == param

    def test_images_are_asked_for_and_given_back(self) -> None:
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
        drawn = {"role": "assistant", "content": "Here:", "images": [image], "citations": []}
        made = request(modalities=["text", "image"], messages=[*HI, drawn, {"role": "user", "content": "Larger"}])
        assert made["generationConfig"] == {"responseModalities": ["TEXT", "IMAGE"]}
        picture = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
        assert made["contents"][1] == {"role": "model", "parts": [{"text": "Here:"}, picture]}

    def test_sampling_keeps_its_values_under_other_names(self) -> None:
        fields = {"top_p": 0.9, "top_k": 5, "seed": 7, "presence_penalty": 0.1, "frequency_penalty": 0.2, "n": 2, "stop": "END"}
        assert request(**fields)["generationConfig"] == {
            "topP": 0.9, "topK": 5, "seed": 7, "presencePenalty": 0.1, "frequencyPenalty": 0.2, "candidateCount": 2,
            "stopSequences": ["END"],
        }  # fmt: skip

    def test_nothing_is_sent_that_was_not_given(self) -> None:
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
            ({"messages": [*HI, RESULT]}, "messages[1].tool_call_id"),  # no such call
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
