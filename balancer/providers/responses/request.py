"""Converts a chat request to a request of OpenAI's Responses API.

Fields that both have are sent as they are. What the Responses API can't do (`stop`, `n` above 1, `seed`, penalties …) is refused
by name, as is every field that is not known here: the two formats share names that mean different things. The `name` of a
message is left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from balancer.endpoint import Endpoint
from balancer.providers.base import RequestRefused
from balancer.providers.responses.input import as_input
from balancer.providers.shapes import effort_of, known_fields

__all__ = ["responses_request"]

_SAME = (
    "model", "temperature", "top_p", "parallel_tool_calls", "service_tier", "truncation", "prompt_cache_retention",
    "prompt_cache_options",
)  # fmt: skip
_SAME_WITHOUT_EFFECT = ("user", "metadata", "safety_identifier", "prompt_cache_key")
"""Fields that `known_fields` leaves out, since most formats haven't got them; this one has."""
_TRANSLATED = (
    "messages", "max_tokens", "max_completion_tokens", "tools", "tool_choice", "response_format", "verbosity", "reasoning_effort",
    "n", "modalities", "thinking", "cache_control",
)  # fmt: skip
_NO_PARAMETERS = {"type": "object", "properties": {}}


def responses_request(endpoint: Endpoint, body: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a chat request, into which the endpoint's settings have been put. Raises RequestRefused."""
    fields = known_fields(body, {*_SAME, *_TRANSLATED}, endpoint, "OpenAI's Responses API")
    _refuse_other_than(fields, "n", 1)
    _refuse_other_than(fields, "modalities", ["text"])
    instructions, items = as_input(fields.get("messages"))
    asked: dict[str, Any] = {name: fields[name] for name in _SAME if name in fields}
    asked |= {name: body[name] for name in _SAME_WITHOUT_EFFECT if body.get(name) is not None}
    asked["input"] = items
    # Chat completions are not kept unless that is asked for; responses are kept unless it is refused.
    asked["store"] = bool(body.get("store"))
    if instructions:
        asked["instructions"] = instructions
    limit = fields.get("max_completion_tokens", fields.get("max_tokens"))
    if limit is not None:
        asked["max_output_tokens"] = limit
    effort = fields["reasoning_effort"] if "reasoning_effort" in fields else effort_of(fields.get("thinking"))
    if effort is not None:
        asked["reasoning"] = {"effort": effort}
    if text := _text(fields):
        asked["text"] = text
    if fields.get("tools"):
        asked["tools"] = _tools(fields["tools"])
    if "tool_choice" in fields:
        asked["tool_choice"] = _tool_choice(fields["tool_choice"])
    if body.get("stream"):
        asked["stream"] = True
    return asked


def _refuse_other_than(fields: Mapping[str, Any], name: str, only: Any) -> None:
    if name in fields and fields[name] != only:
        raise RequestRefused(name, f"OpenAI's Responses API can do no other than {only!r}")


def _text(fields: Mapping[str, Any]) -> dict[str, Any]:
    text: dict[str, Any] = {}
    if "verbosity" in fields:
        text["verbosity"] = fields["verbosity"]
    format = fields.get("response_format")
    if format is None:
        return text
    if not isinstance(format, dict):
        raise RequestRefused("response_format", "must be an object")
    schema = format.get("json_schema")
    if format.get("type") != "json_schema":
        text["format"] = format
    elif isinstance(schema, dict):
        text["format"] = {"type": "json_schema", "schema": {}, **schema}
    else:
        raise RequestRefused("response_format.json_schema", "must be an object")
    return text


def _tools(tools: Any) -> list[dict[str, Any]]:
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        raise RequestRefused("tools", "must be a list")
    return [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]


def _tool(tool: Any, place: str) -> dict[str, Any]:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    if not isinstance(function, dict):
        raise RequestRefused(f"{place}.type", "must be `function`, with the object `function`; others are not translated")
    # Left out, `strict` is false in chat completions, and true in responses.
    return {
        "type": "function",
        **function,
        "parameters": function.get("parameters") or _NO_PARAMETERS,
        "strict": bool(function.get("strict")),
    }


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    function = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    if not isinstance(function, dict):
        raise RequestRefused("tool_choice", "must be a word or name a function; others are not translated")
    return {"type": "function", "name": function.get("name")}
