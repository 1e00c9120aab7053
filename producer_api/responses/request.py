"""Converts a request for a response to a chat request (pure)."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

from producer_api.responses.items import Message, as_messages, input_items, refused

__all__ = ["chat_body"]

_PASSED_ON = (
    "model", "temperature", "top_p", "user", "metadata", "service_tier", "prompt_cache_key", "safety_identifier",
    "parallel_tool_calls",
)  # fmt: skip
_READ_ELSEWHERE = ("store", "stream", "stream_options", "instructions", "input", "previous_response_id")
_MAPPED = ("max_output_tokens", "reasoning", "text", "tools", "tool_choice", "include", "truncation", "background")
_INCLUDED = ("reasoning.encrypted_content",)
"""Supported values of `include`: the content is always returned."""


def chat_body(request: Mapping[str, Any], earlier: Sequence[Message] = ()) -> dict[str, Any]:
    """Return the chat request for a request for a response. `earlier` are the messages of previous responses.

    Raises ApiError that names what is not supported.
    """
    for name, value in request.items():
        if value is not None and value != [] and name not in (*_PASSED_ON, *_READ_ELSEWHERE, *_MAPPED):
            raise refused(name, "is not supported here")
    _refuse_unsupported(request)
    body = {name: request[name] for name in _PASSED_ON if request.get(name) is not None}
    instructions = request.get("instructions")
    if instructions is not None and not isinstance(instructions, str):
        raise refused("instructions", "must be a string")
    system = [{"role": "system", "content": instructions}] if instructions else []
    body["messages"] = [*system, *earlier, *as_messages(input_items(request.get("input")))]
    if request.get("max_output_tokens") is not None:
        body["max_completion_tokens"] = request["max_output_tokens"]
    return body | _settings(request) | _tools(request)


def _refuse_unsupported(request: Mapping[str, Any]) -> None:
    if request.get("background"):
        raise refused("background", "is not supported here; use /v1/batches")
    if request.get("truncation") not in (None, "disabled"):
        raise refused("truncation", "must be disabled: nothing of the input is left out here")
    included = request.get("include") or []
    if not isinstance(included, list):
        raise refused("include", "must be a list")
    if more := next((each for each in included if each not in _INCLUDED), None):
        raise refused("include", f"{str(more)[:60]!r} is not supported here")


def _settings(request: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    reasoning, text = _object(request, "reasoning", {"effort"}), _object(request, "text", {"format", "verbosity"})
    if reasoning.get("effort") is not None:
        made["reasoning_effort"] = reasoning["effort"]
    if text.get("verbosity") is not None:
        made["verbosity"] = text["verbosity"]
    if text.get("format") is not None:
        made["response_format"] = _response_format(text["format"])
    return made


def _object(request: Mapping[str, Any], name: str, known: Container[str]) -> Mapping[str, Any]:
    value = request.get(name) or {}
    if not isinstance(value, dict):
        raise refused(name, "must be an object")
    for field, given in value.items():
        if given is not None and field not in known:
            raise refused(f"{name}.{field}", "is not supported here")
    return value


def _response_format(format: Any) -> dict[str, Any]:
    if not isinstance(format, dict) or format.get("type") not in ("text", "json_object", "json_schema"):
        raise refused("text.format", "its `type` must be text, json_object or json_schema")
    if format["type"] != "json_schema":
        return {"type": format["type"]}
    return {"type": "json_schema", "json_schema": {name: value for name, value in format.items() if name != "type"}}


def _tools(request: Mapping[str, Any]) -> dict[str, Any]:
    tools = request.get("tools") or []
    if not isinstance(tools, list):
        raise refused("tools", "must be a list")
    made: dict[str, Any] = {"tools": [_tool(tool, f"tools[{n}]") for n, tool in enumerate(tools)]} if tools else {}
    choice = request.get("tool_choice")
    if choice is None:
        return made
    if isinstance(choice, str):
        return made | {"tool_choice": choice}
    if not isinstance(choice, dict) or choice.get("type") != "function" or not isinstance(choice.get("name"), str):
        raise refused("tool_choice", "must be none, auto or required, or name a function")
    return made | {"tool_choice": {"type": "function", "function": {"name": choice["name"]}}}


def _tool(tool: Any, place: str) -> dict[str, Any]:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise refused(f"{place}.type", "must be function; tools that OpenAI's servers run are not supported here")
    if not isinstance(tool.get("name"), str):
        raise refused(f"{place}.name", "must be a string")
    for name, value in tool.items():
        if value is not None and name not in ("type", "name", "description", "parameters", "strict"):
            raise refused(f"{place}.{name}", "is not supported here")
    function = {name: tool[name] for name in ("name", "description", "parameters", "strict") if tool.get(name) is not None}
    return {"type": "function", "function": function}
