"""Converts OpenAI's tools and tool choice to Anthropic's."""

from collections.abc import Mapping
from typing import Any

from balancer.providers.anthropic.messages import list_at, object_at, text_at
from balancer.providers.anthropic.schemas import closed_schema
from balancer.providers.base import RequestRefused

__all__ = ["TOOL_FIELDS", "tool_settings"]

TOOL_FIELDS = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
"""What `tool_settings` reads."""
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def tool_settings(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return `tools` and `tool_choice` of a request, as far as it has them. Raises RequestRefused."""
    parallel = fields.get("parallel_tool_calls", True)
    if not isinstance(parallel, bool):
        raise RequestRefused("parallel_tool_calls", "must be true or false")
    tools = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(list_at(fields.get("tools", []), "tools"))]
    choice = _choice(fields["tool_choice"]) if "tool_choice" in fields else None
    if not tools:
        if choice and choice["type"] in ("any", "tool"):
            raise RequestRefused("tool_choice", "asks for a call, but there are no `tools`")
        return {}
    if not parallel and (choice is None or choice["type"] != "none"):
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return {"tools": tools, "tool_choice": choice} if choice else {"tools": tools}


def _tool(tool: Any, place: str) -> dict[str, Any]:
    function = _function(tool, place)
    made = {"name": text_at(function.get("name"), f"{place}.function.name")}
    if function.get("description") is not None:
        made["description"] = text_at(function["description"], f"{place}.function.description")
    parameters = function.get("parameters")
    schema = {} if parameters is None else object_at(parameters, f"{place}.function.parameters")
    made_schema = schema if "type" in schema else {"type": "object", **schema}
    if function.get("strict") is not True:
        return {**made, "input_schema": made_schema, **cached(tool)}
    closed = closed_schema(made_schema, f"{place}.function.parameters")
    return {**made, "input_schema": closed, "strict": True, **cached(tool)}


def cached(owner: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `cache_control` of a tool, or of its function."""
    control = owner.get("cache_control") or owner["function"].get("cache_control")
    return {"cache_control": object_at(control, "tools.cache_control")} if control else {}


def _choice(choice: Any) -> dict[str, Any]:
    if isinstance(choice, str):
        if choice not in _CHOICES:
            raise RequestRefused("tool_choice", "must be auto, none, required, or name a function")
        return {"type": _CHOICES[choice]}
    function = _function(choice, "tool_choice")
    return {"type": "tool", "name": text_at(function.get("name"), "tool_choice.function.name")}


def _function(owner: Any, place: str) -> dict[str, Any]:
    if object_at(owner, place).get("type") != "function":
        raise RequestRefused(f"{place}.type", "must be `function`; Anthropic's adapter can do no other")
    return object_at(owner.get("function"), f"{place}.function")
