"""Converts a chat request to Gemini's generateContent (ai.google.dev/api/generate-content)."""

import re
from collections.abc import Mapping
from typing import Any

from balancer.endpoint import Endpoint
from balancer.providers.base import RequestRefused
from balancer.providers.gemini.contents import Conversation
from balancer.providers.shapes import effort_of, known_fields

__all__ = ["generate_content"]

_CONFIG = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "n": "candidateCount",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
}
"""Fields that only have another name in `generationConfig`; Google judges their values."""
_KNOWN = frozenset(_CONFIG) | {
    "model", "messages", "max_tokens", "max_completion_tokens", "stop", "tools", "tool_choice",
    "response_format", "modalities", "reasoning_effort", "thinking", "cache_control", "service_tier", "safety_settings",
    "cached_content",
}  # fmt: skip
_TIERS = {"auto": "", "default": "standard", "flex": "flex", "priority": "priority"}
"""OpenAI's `service_tier` -> Gemini's `serviceTier`; "" asks for nothing."""
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH", "max": "XHIGH"}
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
"""Tokens for thinking. Google's own translation for models before Gemini 3, which know no levels."""
_FIRST_WITH_LEVELS = 3
_GENERATION = re.compile(r"gemini-(\d{1,3})(?!\d)")


def generate_content(model: str, body: Mapping[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    """Return the request's body. Raises RequestRefused for what Gemini can't do."""
    fields = known_fields(body, _KNOWN, endpoint, "Gemini")
    conversation = Conversation(fields.get("messages"), signed=_generation(model) >= _FIRST_WITH_LEVELS)
    request: dict[str, Any] = {"contents": conversation.contents}
    if system := conversation.system:
        request["systemInstruction"] = {"parts": [{"text": system}]}
    if config := _generation_config(model, fields):
        request["generationConfig"] = config
    if tools := fields.get("tools"):
        request["tools"] = [{"functionDeclarations": _declarations(tools)}]
    if choice := fields.get("tool_choice"):
        request["toolConfig"] = {"functionCallingConfig": _calling(choice)}
    return request | _of_the_service(fields)


def _of_the_service(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is neither content nor generation: the tier, Gemini's own safety settings, content that it keeps."""
    made: dict[str, Any] = {}
    if tier := _tier(fields.get("service_tier", "auto")):
        made["serviceTier"] = tier
    if "safety_settings" in fields:
        made["safetySettings"] = [_safety(each, index) for index, each in enumerate(_list(fields["safety_settings"]))]
    if "cached_content" in fields:
        if not isinstance(fields["cached_content"], str):
            raise RequestRefused("cached_content", "must be the name of cached content, such as cachedContents/abc")
        made["cachedContent"] = fields["cached_content"]
    return made


def _tier(tier: Any) -> str:
    if not isinstance(tier, str) or tier not in _TIERS:
        raise RequestRefused("service_tier", f"must be one of {', '.join(_TIERS)}")
    return _TIERS[tier]


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise RequestRefused("safety_settings", "must be a list")
    return value


def _safety(setting: Any, index: int) -> dict[str, str]:
    known = {"category", "threshold", "method"}
    if not isinstance(setting, dict) or not setting.keys() <= known or not all(isinstance(v, str) for v in setting.values()):
        raise RequestRefused(f"safety_settings[{index}]", "must have `category` and `threshold`, both strings")
    return dict(setting)


def _generation(model: str) -> int:
    """Return 3 for gemini-3.1-pro-preview, 0 for a name that doesn't say."""
    found = _GENERATION.match(model)
    return int(found[1]) if found else 0


def _generation_config(model: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    config = {theirs: fields[ours] for ours, theirs in _CONFIG.items() if ours in fields}
    limit = fields.get("max_completion_tokens", fields.get("max_tokens"))
    if limit is not None:
        config["maxOutputTokens"] = limit
    if "modalities" in fields:
        config["responseModalities"] = _modalities(fields["modalities"])
    if "stop" in fields:
        config["stopSequences"] = _stops(fields["stop"])
    if "response_format" in fields:
        config |= _format(fields["response_format"])
    effort = fields["reasoning_effort"] if "reasoning_effort" in fields else effort_of(fields.get("thinking"))
    if effort is not None:
        config["thinkingConfig"] = _thinking(effort, model)
    return config


def _modalities(modalities: Any) -> list[str]:
    known = {"text": "TEXT", "image": "IMAGE"}
    if not isinstance(modalities, list) or not all(isinstance(each, str) and each in known for each in modalities):
        raise RequestRefused("modalities", f"must be a list of {' and '.join(known)}")
    return [known[each] for each in modalities]


def _stops(stop: Any) -> list[str]:
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list | tuple) or not all(isinstance(each, str) for each in stops):
        raise RequestRefused("stop", "must be a string or a list of strings")
    return list(stops)


def _format(format: Any) -> dict[str, Any]:
    kind = format.get("type") if isinstance(format, dict) else None
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"responseMimeType": "application/json"}
    if kind != "json_schema":
        raise RequestRefused("response_format.type", "must be text, json_object or json_schema")
    wrapped = format.get("json_schema")
    schema = wrapped.get("schema") if isinstance(wrapped, dict) else None
    if not isinstance(schema, dict):
        raise RequestRefused("response_format.json_schema.schema", "must be an object")
    return {"responseMimeType": "application/json", "responseJsonSchema": schema}


def _thinking(effort: Any, model: str) -> dict[str, Any]:
    if effort == "none":  # from Gemini 3 on, thinking can't be turned off
        return {"thinkingLevel": "MINIMAL"} if _generation(model) >= _FIRST_WITH_LEVELS else {"thinkingBudget": 0}
    if not isinstance(effort, str) or effort not in _LEVELS:
        raise RequestRefused("reasoning_effort", f"must be one of none, {', '.join(_LEVELS)}")
    if 0 < _generation(model) < _FIRST_WITH_LEVELS:
        return {"thinkingBudget": _BUDGETS[effort]}
    return {"thinkingLevel": _LEVELS[effort]}


def _declarations(tools: Any) -> list[dict[str, Any]]:
    if not isinstance(tools, list | tuple):
        raise RequestRefused("tools", "must be a list")
    return [_declaration(tool, f"tools[{index}]") for index, tool in enumerate(tools)]


def _declaration(tool: Any, where: str) -> dict[str, Any]:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise RequestRefused(f"{where}.type", "must be function; Gemini has no other tools of OpenAI's")
    found = tool.get("function")
    function = found if isinstance(found, dict) else {}
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise RequestRefused(f"{where}.function.name", "must be a string")
    fields = {"name": name, "description": function.get("description"), "parametersJsonSchema": function.get("parameters")}
    return {key: value for key, value in fields.items() if value is not None}


def _calling(choice: Any) -> dict[str, Any]:
    if isinstance(choice, str) and choice in _MODES:
        return {"mode": _MODES[choice]}
    function = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise RequestRefused("tool_choice", "must be auto, none, required, or one function by its name")
    return {"mode": "ANY", "allowedFunctionNames": [name]}
