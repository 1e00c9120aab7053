"""Gemini's generateContent."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
from google.genai.types import GenerateContentResponse

from balancer.endpoint import Endpoint
from balancer.outcome import FailureKind, Usage
from tests.fake_providers.base import (
    KEY,
    Document,
    Ending,
    FakeProvider,
    Image,
    ReceivedRequest,
    Refused,
    Reply,
    Script,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)

__all__ = ["FAKE", "GeminiFakeProvider"]

MODELS = "/v1beta/models"
REQUEST = {
    "contents", "systemInstruction", "generationConfig", "tools", "toolConfig", "safetySettings", "cachedContent",
    "serviceTier",
}  # fmt: skip
CONFIG = {
    "temperature", "topP", "topK", "maxOutputTokens", "stopSequences", "candidateCount", "seed", "presencePenalty",
    "frequencyPenalty", "responseMimeType", "responseSchema", "responseJsonSchema", "thinkingConfig", "responseModalities",
}  # fmt: skip
PART = {"text", "inlineData", "fileData", "functionCall", "functionResponse", "thought", "thoughtSignature"}
CONTENT_OF_PART = PART - {"thought", "thoughtSignature"}


class GeminiFakeProvider(FakeProvider):
    """Refuses field names that it does not know, as Google does. What is said is checked with the types of Google's own SDK."""

    provider = "gemini"

    def endpoint(self, address: str, **settings: Any) -> Endpoint:
        return Endpoint(f"{address}/v1beta", provider=self.provider, api_key=KEY, **settings)

    def read_request(self, path: str, headers: Mapping[str, str], body: bytes) -> ReceivedRequest:
        model, stream = _place(path)
        if headers.get("x-goog-api-key") != KEY:
            raise Refused("no key")
        request = orjson.loads(body)
        _only(request, REQUEST, "request")
        config = _only(request.get("generationConfig", {}), CONFIG, "generationConfig")
        _only(config.get("thinkingConfig", {}), {"thinkingLevel", "thinkingBudget", "includeThoughts"}, "thinkingConfig")
        if "responseJsonSchema" in config and config.get("responseMimeType") != "application/json":
            raise Refused("a responseJsonSchema needs responseMimeType application/json")
        tools = _tools(request.get("tools", []))
        return ReceivedRequest(
            model=model,
            turns=_turns(request.get("contents")),
            system=_system(request.get("systemInstruction", {"parts": []})),
            tools=tools,
            tool_choice=_tool_choice(request.get("toolConfig"), tools),
            schema=config.get("responseJsonSchema"),
            stop=tuple(config.get("stopSequences", ())),
            max_tokens=config.get("maxOutputTokens"),
            temperature=config.get("temperature"),
            stream=stream,
            service_tier=request.get("serviceTier"),
        )

    def whole_answer(self, script: Script, received: ReceivedRequest) -> Reply:
        parts = [{"text": script.text}] if script.text else []
        parts += [_call(call) for call in script.tool_calls]
        return Reply(200, orjson.dumps(_answer(received, parts, script.ending, script.usage)))

    def stream(self, script: Script, received: ReceivedRequest) -> Iterator[bytes]:
        half = len(script.text) // 2
        sent: list[dict[str, Any]] = [{"text": piece} for piece in (script.text[:half], script.text[half:]) if piece]
        sent += [_call(call) for call in script.tool_calls]
        for number, part in enumerate(sent, 1):
            # Counts grow from event to event.
            so_far = Usage(script.usage.prompt, min(number, script.usage.completion), script.usage.cached)
            yield _event(_answer(received, [part], None, so_far))
        yield _event(_answer(received, [], script.ending, script.usage))

    def fail(self, kind: FailureKind) -> Reply | None:
        if kind not in _FAILURES:
            return None
        status, name, message, details = _FAILURES[kind]
        error = {"code": status, "message": f"this is {kind.name}. {message}", "status": name, "details": details}
        return Reply(status, orjson.dumps({"error": error}))

    def refuse(self, reason: str) -> Reply:
        error = {"code": 400, "message": reason, "status": "INVALID_ARGUMENT"}
        return Reply(400, orjson.dumps({"error": error}))

    def get(self, path: str) -> Reply:
        if urlsplit(path).path != MODELS:
            return Reply(404, orjson.dumps({"error": {"code": 404, "message": "no such path", "status": "NOT_FOUND"}}))
        models = [
            {"name": "models/embed", "version": "1", "supportedGenerationMethods": ["embedContent"]},
            {"name": "models/m", "version": "1", "supportedGenerationMethods": ["generateContent", "countTokens"]},
        ]
        return Reply(200, orjson.dumps({"models": models}))


def _detail(name: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/google.rpc.{name}", **fields}


def _quota(per: str) -> dict[str, Any]:
    metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
    violation = {"quotaMetric": metric, "quotaId": f"GenerateRequestsPer{per}PerProjectPerModel-FreeTier", "quotaValue": "15"}
    return _detail("QuotaFailure", violations=[violation])


_DELAY = _detail("RetryInfo", retryDelay="7.238747106s")
_FAILURES: dict[FailureKind, tuple[int, str, str, list[dict[str, Any]]]] = {
    FailureKind.RATE_LIMIT: (429, "RESOURCE_EXHAUSTED", "", [_quota("Minute"), _detail("Help", links=[]), _DELAY]),
    FailureKind.OVERLOADED: (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", []),
    FailureKind.TIMEOUT: (504, "DEADLINE_EXCEEDED", "", []),
    FailureKind.BAD_REQUEST: (400, "INVALID_ARGUMENT", "", []),
    FailureKind.AUTHENTICATION: (
        400,
        "INVALID_ARGUMENT",
        "API key not valid. Please pass a valid API key.",
        [_detail("ErrorInfo", reason="API_KEY_INVALID", domain="googleapis.com")],
    ),
    FailureKind.QUOTA: (429, "RESOURCE_EXHAUSTED", "", [_quota("Day"), _DELAY]),
    FailureKind.CONTEXT_TOO_LONG: (
        400,
        "INVALID_ARGUMENT",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        [],
    ),
    FailureKind.SERVER: (500, "INTERNAL", "", []),
}
"""Google refuses what a prompt holds inside an answer, so there is nothing for CONTENT_FILTER."""


def _only(found: Any, known: set[str], where: str) -> Any:
    if not isinstance(found, dict):
        raise Refused(f"{where} must be an object")
    for name in found:
        if name not in known:
            raise Refused(f'Invalid JSON payload received. Unknown name "{name}" at {where}: Cannot find field.')
    return found


def _place(path: str) -> tuple[str, bool]:
    """Read the model, and whether a stream is wanted, from a path."""
    url = urlsplit(path)
    model, colon, method = url.path.removeprefix(f"{MODELS}/").rpartition(":")
    if not url.path.startswith(f"{MODELS}/") or not colon or "/" in model:
        raise Refused(f"no such path: {path}")
    if (method, url.query) not in (("generateContent", ""), ("streamGenerateContent", "alt=sse")):
        raise Refused(f"no such method: {method}?{url.query}")
    return unquote(model), method == "streamGenerateContent"


def _turns(contents: Any) -> tuple[Turn, ...]:
    if not contents:
        raise Refused("contents is not specified")
    turns: list[Turn] = []
    called: list[dict[str, Any]] = []
    for index, content in enumerate(contents):
        _only(content, {"role", "parts"}, f"contents[{index}]")
        if content["role"] not in ("user", "model"):
            raise Refused("Please use a valid role: user, model.")
        if not content["parts"]:
            raise Refused(f"contents[{index}].parts must not be empty")
        answers = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
        if answers or called:
            _check_answers(answers, called)
        called = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        if called and content["role"] != "model":
            raise Refused("only a model calls functions")
        role = "tool" if answers else {"user": "user", "model": "assistant"}[content["role"]]
        turns.append(Turn(role, tuple(_part(part) for part in content["parts"])))
    return tuple(turns)


def _check_answers(answers: list[dict[str, Any]], called: list[dict[str, Any]]) -> None:
    if len(answers) != len(called):
        raise Refused("the number of function response parts must equal that of the function call parts of the turn before")
    if [(each["name"], each.get("id")) for each in answers] != [(each["name"], each.get("id")) for each in called]:
        raise Refused("function responses must have the names and the ids of the function calls")


def _part(part: dict[str, Any]) -> Any:
    _only(part, PART, "part")
    kinds = CONTENT_OF_PART & part.keys()
    if len(kinds) != 1:
        raise Refused("required oneof field 'data' must have one initialized field")
    kind = kinds.pop()
    value = part[kind]
    if kind == "text":
        return Text(value)
    if kind == "functionCall":
        _only(value, {"id", "name", "args"}, kind)
        return ToolCall(value["name"], value["args"], value["id"])
    if kind == "functionResponse":
        _only(value, {"id", "name", "response"}, kind)
        response = _only(value["response"], {"output", "error"}, "response")
        return ToolResult(value["id"], "Error: " + response["error"] if "error" in response else response["output"])
    if kind == "fileData":
        return Image(url=_only(value, {"mimeType", "fileUri"}, kind)["fileUri"])
    _only(value, {"mimeType", "data"}, kind)
    return (Document if value["mimeType"] == "application/pdf" else Image)(value["mimeType"], value["data"])


def _system(instruction: dict[str, Any]) -> str:
    parts = _only(instruction, {"role", "parts"}, "systemInstruction")["parts"]
    return "\n\n".join(_only(part, {"text"}, "systemInstruction.parts")["text"] for part in parts)


def _tools(tools: list[dict[str, Any]]) -> dict[str, Any]:
    found = {}
    for tool in tools:
        for declaration in _only(tool, {"functionDeclarations"}, "tools")["functionDeclarations"]:
            _only(declaration, {"name", "description", "parameters", "parametersJsonSchema"}, "functionDeclarations")
            found[declaration["name"]] = declaration.get("parametersJsonSchema")
    return found


def _tool_choice(tool_config: Any, tools: dict[str, Any]) -> str | None:
    if tool_config is None:
        return None
    calling = _only(tool_config, {"functionCallingConfig"}, "toolConfig")["functionCallingConfig"]
    _only(calling, {"mode", "allowedFunctionNames"}, "functionCallingConfig")
    names = calling.get("allowedFunctionNames", [])
    if names and (calling["mode"] != "ANY" or not set(names) <= tools.keys()):
        raise Refused("allowed_function_names needs mode ANY, and names of declared functions")
    return names[0] if names else {"AUTO": "auto", "NONE": "none", "ANY": "required"}[calling["mode"]]


def _call(call: ToolCall) -> dict[str, Any]:
    # Google names the id in some answers only. This is one without.
    return {"functionCall": {"name": call.name, "args": dict(call.arguments)}, "thoughtSignature": "c2lnbmVk"}


_REASONS = {Ending.STOP: "STOP", Ending.TOOLS: "STOP", Ending.LENGTH: "MAX_TOKENS", Ending.REFUSAL: "SAFETY"}


def _answer(received: ReceivedRequest, parts: list[dict[str, Any]], ending: Ending | None, usage: Usage) -> dict[str, Any]:
    # An answer that says nothing has no `parts`, or no `content` at all.
    content = {"content": {"role": "model", **({"parts": parts} if parts else {})}}
    candidate = {**content, "index": 0, **({"finishReason": _REASONS[ending]} if ending else {})}
    answer = {
        "candidates": [candidate],
        "usageMetadata": _usage(usage),
        "modelVersion": received.model,
        "responseId": "response-1",
    }
    GenerateContentResponse.model_validate(answer)
    if received.service_tier:
        answer["usageMetadata"] |= {"serviceTier": received.service_tier}  # Google's SDK has no field for it in answers
    return answer


def _usage(usage: Usage) -> dict[str, int]:
    """Thoughts stand beside the candidates' tokens; counts of nothing are left out."""
    counts = {
        "promptTokenCount": usage.prompt,
        "candidatesTokenCount": usage.completion - usage.reasoning,
        "thoughtsTokenCount": usage.reasoning,
        "cachedContentTokenCount": usage.cached,
        "totalTokenCount": usage.prompt + usage.completion,
    }
    return {name: count for name, count in counts.items() if count}


def _event(answer: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(answer) + b"\r\n\r\n"


FAKE = GeminiFakeProvider()
