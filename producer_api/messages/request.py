"""Converts a request for a message to a chat request (pure)."""

from collections.abc import Mapping
from typing import Any

from producer_api.messages.content import chat_messages
from producer_api.messages.reading import known, list_at, object_at, refused, text_at

__all__ = ["chat_body"]

_AS_THEY_ARE = ("model", "max_tokens", "temperature", "top_p", "top_k", "thinking", "cache_control")
_FIELDS = frozenset(
    {
        *_AS_THEY_ARE, "messages", "system", "stop_sequences", "stream", "tools", "tool_choice", "metadata", "output_config",
        "output_format", "service_tier",
    }
)  # fmt: skip
_TOOL_FIELDS = ("type", "name", "description", "input_schema", "cache_control", "strict")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_TIERS = {"auto": "auto", "standard_only": "default"}


def chat_body(request: Mapping[str, Any], needs_limit: bool = True) -> dict[str, Any]:
    """Return the chat request that a request for a message stands for. `needs_limit`: it has to have `max_tokens`.

    Raises ApiError that names what is missing, has the wrong type or can't be served.
    """
    known(request, _FIELDS, "")
    text_at(request.get("model"), "model")
    limit = request.get("max_tokens")
    if needs_limit and (type(limit) is not int or limit < 1):
        raise refused("max_tokens", "must be a whole number greater than 0" if "max_tokens" in request else "field required")
    body = {name: request[name] for name in _AS_THEY_ARE if request.get(name) is not None}
    if "thinking" in body:
        text_at(object_at(body["thinking"], "thinking").get("type"), "thinking.type")
    body["messages"] = chat_messages(request)
    if request.get("stop_sequences"):
        stops = list_at(request["stop_sequences"], "stop_sequences")
        body["stop"] = [text_at(each, f"stop_sequences[{index}]") for index, each in enumerate(stops)]
    return body | _tools(request) | _output(request) | _others(request)


def _tools(request: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if request.get("tools"):
        made["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(list_at(request["tools"], "tools"))]
    if request.get("tool_choice") is not None:
        choice = object_at(request["tool_choice"], "tool_choice")
        known(choice, ("type", "name", "disable_parallel_tool_use"), "tool_choice")
        made["tool_choice"] = _choice(choice)
        if choice.get("disable_parallel_tool_use"):
            made["parallel_tool_calls"] = False
    return made


def _tool(tool: Any, place: str) -> dict[str, Any]:
    if object_at(tool, place).get("type", "custom") != "custom":
        raise refused(f"{place}.type", "must be custom; tools that Anthropic's servers run are not supported here")
    known(tool, _TOOL_FIELDS, place)
    function = {
        "name": text_at(tool.get("name"), f"{place}.name"),
        "parameters": object_at(tool.get("input_schema"), f"{place}.input_schema"),
    }
    for name in ("description", "strict"):
        if tool.get(name) is not None:
            function[name] = tool[name]
    cached = {"cache_control": tool["cache_control"]} if tool.get("cache_control") else {}
    return {"type": "function", "function": function, **cached}


def _choice(choice: Mapping[str, Any]) -> Any:
    kind = choice.get("type")
    if kind == "tool":
        return {"type": "function", "function": {"name": text_at(choice.get("name"), "tool_choice.name")}}
    if not isinstance(kind, str) or kind not in _CHOICES:
        raise refused("tool_choice.type", "must be auto, any, tool or none")
    return _CHOICES[kind]


def _output(request: Mapping[str, Any]) -> dict[str, Any]:
    """Read `output_config`, and `output_format`, which is its older name for the format."""
    config = object_at(request.get("output_config") or {}, "output_config")
    known(config, ("effort", "format"), "output_config")
    made: dict[str, Any] = {}
    if config.get("effort") is not None:
        made["reasoning_effort"] = text_at(config["effort"], "output_config.effort")
    place = "output_config.format" if config.get("format") is not None else "output_format"
    form = config.get("format") if config.get("format") is not None else request.get("output_format")
    if form is not None:
        if object_at(form, place).get("type") != "json_schema":
            raise refused(f"{place}.type", "must be json_schema")
        schema = object_at(form.get("schema"), f"{place}.schema")
        described = {"name": "answer", "schema": schema, "strict": True}
        made["response_format"] = {"type": "json_schema", "json_schema": described}
    return made


def _others(request: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    metadata = object_at(request.get("metadata") or {}, "metadata")
    known(metadata, ("user_id",), "metadata")
    if metadata.get("user_id") is not None:
        made["safety_identifier"] = text_at(metadata["user_id"], "metadata.user_id")
    if (tier := request.get("service_tier")) is not None:
        if not isinstance(tier, str) or tier not in _TIERS:
            raise refused("service_tier", "must be auto or standard_only")
        made["service_tier"] = _TIERS[tier]
    stream = request.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise refused("stream", "must be true or false")
    return made | ({"stream": True} if stream else {})
