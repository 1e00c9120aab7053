"""Converts a chat request to Bedrock's Converse (docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html).

Converse has the blocks of Anthropic's Messages under names of its own, so the conversation is read once, as Anthropic's.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from balancer.endpoint import Endpoint
from balancer.providers.anthropic.messages import conversation, object_at, text_at
from balancer.providers.anthropic.tools import tool_settings
from balancer.providers.base import RequestRefused
from balancer.providers.settings import apply_endpoint
from balancer.providers.shapes import effort_of, known_fields

__all__ = ["converse_request"]

_FIELDS = frozenset(
    {
        "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "tools", "tool_choice",
        "response_format", "reasoning_effort", "thinking", "service_tier", "cache_control",
    }
)  # fmt: skip
_TIERS = {"auto": "default", "default": "default", "flex": "flex", "priority": "priority"}
"""OpenAI's `service_tier` -> that of Converse."""
_CHOICES = {"auto": "auto", "any": "any"}
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9\s()\[\]-]|\s(?=\s)")
"""What a document's name may not have."""

Block = dict[str, Any]


def converse_request(endpoint: Endpoint, body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the model and the request's body. Raises RequestRefused, which names the place."""
    fields = known_fields(apply_endpoint(endpoint, body), _FIELDS, endpoint, "Bedrock")
    model = fields.get("model")
    if not model:
        raise RequestRefused("model", "is missing; name one, or give the endpoint `models`")
    _refuse_addresses(fields.get("messages"))
    try:
        system, turns = conversation(fields.get("messages"))
        tools = tool_settings({name: fields[name] for name in ("tools", "tool_choice") if name in fields})
    except RequestRefused as exc:
        raise RequestRefused(exc.param, exc.reason.replace("Anthropic", "Bedrock")) from None
    messages = _Blocks().messages(turns)
    if "cache_control" in fields:
        messages[-1]["content"].append(_cache_point(object_at(fields["cache_control"], "cache_control")))
    sent = {
        "messages": messages,
        "system": _system(system),
        "inferenceConfig": _inference(fields),
        "toolConfig": _tools(tools),
        "outputConfig": _output(fields, model),
        "serviceTier": _tier(fields.get("service_tier")),
        "additionalModelRequestFields": _of_the_model(fields, model),
    }
    return model, {name: value for name, value in sent.items() if value}


def _refuse_addresses(messages: Any) -> None:
    """Refuse images and documents that would have to be fetched."""
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for number, part in enumerate(content if isinstance(content, list) else ()):
            for name in ("image_url", "document_url"):
                found = part.get(name) if isinstance(part, dict) else None
                url = found.get("url") if isinstance(found, dict) else found
                if isinstance(url, str) and url.startswith(("http://", "https://")):
                    where = f"messages[{index}].content[{number}].{name}.url"
                    raise RequestRefused(where, "must be a data: URL: Bedrock fetches nothing")


def _system(system: str | list[Block]) -> list[Block]:
    blocks = [{"type": "text", "text": system}] if isinstance(system, str) else system
    return [made for block in blocks if block["text"] for made in ({"text": block["text"]}, *_cache_points(block))]


class _Blocks:
    """Converts Anthropic's blocks. Documents need names, each its own."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def messages(self, turns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [{"role": turn["role"], "content": self._all(turn["content"])} for turn in turns]

    def _all(self, blocks: Sequence[Block]) -> list[Block]:
        return [made for block in blocks for made in (self._one(block), *_cache_points(block))]

    def _one(self, block: Block) -> Block:
        kind = block["type"]
        if kind == "tool_use":
            return {"toolUse": {"toolUseId": block["id"], "name": block["name"], "input": block["input"]}}
        if kind == "tool_result":
            failed = {"status": "error"} if block.get("is_error") else {}
            content = self._all(block.get("content", ())) or [{"text": ""}]
            return {"toolResult": {"toolUseId": block["tool_use_id"], "content": content, **failed}}
        if kind == "thinking":
            return {"reasoningContent": {"reasoningText": {"text": block["thinking"], "signature": block["signature"]}}}
        if kind == "redacted_thinking":
            return {"reasoningContent": {"redactedContent": block["data"]}}
        if kind == "image":
            source = block["source"]
            return {"image": {"format": source["media_type"].removeprefix("image/"), "source": {"bytes": source["data"]}}}
        return {"text": block["text"]} if kind == "text" else self._document(block)

    def _document(self, block: Block) -> Block:
        source = block["source"]
        is_text = source["type"] == "text"
        made: Block = {
            "format": "txt" if is_text else "pdf",
            "name": self._name(block.get("title") or "document"),
            "source": {"text" if is_text else "bytes": source["data"]},
        }
        if block.get("context"):
            made["context"] = text_at(block["context"], "messages.context")
        if block.get("citations"):
            made["citations"] = {"enabled": bool(object_at(block["citations"], "messages.citations").get("enabled"))}
        return {"document": made}

    def _name(self, title: str) -> str:
        plain = _NOT_IN_A_NAME.sub("-", title.rpartition(".")[0] or title)[:180].strip() or "document"
        number = 1
        name = plain
        while name in self._names:
            number += 1
            name = f"{plain} ({number})"
        self._names.add(name)
        return name


def _cache_points(block: Mapping[str, Any]) -> list[Block]:
    control = block.get("cache_control")
    return [_cache_point(control)] if control else []


def _cache_point(control: Mapping[str, Any]) -> Block:
    ttl = control.get("ttl")
    if ttl not in (None, "5m", "1h"):
        raise RequestRefused("cache_control.ttl", "must be 5m or 1h")
    return {"cachePoint": {"type": "default", **({"ttl": ttl} if ttl else {})}}


def _inference(fields: Mapping[str, Any]) -> dict[str, Any]:
    limit = fields.get("max_completion_tokens", fields.get("max_tokens"))
    stops = fields.get("stop")
    stops = [stops] if isinstance(stops, str) else stops
    if stops is not None and not (isinstance(stops, list) and all(isinstance(each, str) and each for each in stops)):
        raise RequestRefused("stop", "must be a string or a list of strings")
    config = {
        "maxTokens": limit,
        "temperature": _number(fields, "temperature"),
        "topP": _number(fields, "top_p"),
        "stopSequences": stops or None,
    }
    return {name: value for name, value in config.items() if value is not None}


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise RequestRefused(name, "must be a number")
    return value


def _tools(settings: Mapping[str, Any]) -> dict[str, Any]:
    if not settings:
        return {}
    made = [made for tool in settings["tools"] for made in (_tool(tool), *_cache_points(tool))]
    choice = settings.get("tool_choice")
    if choice is None:
        return {"tools": made}
    if choice["type"] == "tool":
        return {"tools": made, "toolChoice": {"tool": {"name": choice["name"]}}}
    if choice["type"] not in _CHOICES:
        raise RequestRefused("tool_choice", "Bedrock has no such choice; leave `tools` out")
    return {"tools": made, "toolChoice": {_CHOICES[choice["type"]]: {}}}


def _tool(tool: Mapping[str, Any]) -> Block:
    described = {"description": tool["description"]} if tool.get("description") else {}
    strict = {"strict": True} if tool.get("strict") else {}
    return {"toolSpec": {"name": tool["name"], **described, "inputSchema": {"json": tool["input_schema"]}, **strict}}


def _output(fields: Mapping[str, Any], model: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    effort = fields.get("reasoning_effort")
    if effort is None and not _is_claude(model):
        effort = effort_of(fields.get("thinking"))
    if effort is not None:
        made["effort"] = text_at(effort, "reasoning_effort")
    if (format := fields.get("response_format")) is not None and (text_format := _format(format)):
        made["textFormat"] = text_format
    return made


def _format(format: Any) -> dict[str, Any] | None:
    kind = format.get("type") if isinstance(format, dict) else None
    if kind == "text":
        return None
    if kind != "json_schema":
        raise RequestRefused("response_format.type", "must be text or json_schema; Bedrock has no other")
    wrapped = object_at(format.get("json_schema"), "response_format.json_schema")
    schema = object_at(wrapped.get("schema"), "response_format.json_schema.schema")
    place = "response_format.json_schema"
    named = {name: text_at(wrapped[name], f"{place}.{name}") for name in ("name", "description") if wrapped.get(name)}
    try:
        text = orjson.dumps(schema).decode()
    except orjson.JSONEncodeError as exc:
        raise RequestRefused("response_format.json_schema.schema", f"can't be written as JSON: {exc}") from None
    return {"type": "json_schema", "structure": {"jsonSchema": {"schema": text, **named}}}


def _tier(tier: Any) -> dict[str, str]:
    if tier in (None, "auto"):
        return {}
    if not isinstance(tier, str) or tier not in _TIERS:
        raise RequestRefused("service_tier", f"must be one of {', '.join(_TIERS)}")
    return {"type": _TIERS[tier]}


def _of_the_model(fields: Mapping[str, Any], model: str) -> dict[str, Any]:
    thinking = fields.get("thinking")
    return {"thinking": object_at(thinking, "thinking")} if thinking is not None and _is_claude(model) else {}


def _is_claude(model: str) -> bool:
    return "anthropic" in model
