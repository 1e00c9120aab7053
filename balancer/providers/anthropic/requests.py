"""Converts an OpenAI chat request to a body for Anthropic's Messages API."""

from collections.abc import Mapping
from typing import Any

from balancer.endpoint import Endpoint
from balancer.providers.anthropic.messages import conversation, list_at, object_at, text_at
from balancer.providers.anthropic.schemas import closed_schema
from balancer.providers.anthropic.tools import TOOL_FIELDS, tool_settings
from balancer.providers.base import RequestRefused
from balancer.providers.settings import apply_endpoint
from balancer.providers.shapes import known_fields

__all__ = ["MAX_TOKENS", "SAMPLING", "VERSION", "messages_request", "takes_sampling", "version_of"]

VERSION = "2026-10-21"
"""The `anthropic-version` that is asked for. From this one on, sampling fields are refused, whatever their value."""
MAX_TOKENS = 8192
"""Tokens of an answer where neither the request nor the endpoint says how many it may have."""
SAMPLING = frozenset({"temperature", "top_p", "top_k"})
"""What versions before VERSION take."""
_FIELDS = TOOL_FIELDS | {
    "model", "messages", "max_tokens", "max_completion_tokens", "n", "stop", "response_format", "reasoning_effort", "thinking",
    "service_tier", "cache_control",
}  # fmt: skip
_FIELDS_WITH_SAMPLING = _FIELDS | SAMPLING
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
"""OpenAI's `reasoning_effort` -> `output_config.effort`. The remaining one, `none`, turns thinking off."""
_SERVICE_TIERS = {"auto": "auto", "priority": "auto", "default": "standard_only", "standard_only": "standard_only"}
"""OpenAI's tiers -> Anthropic's. `auto` is the only one that may use priority capacity."""
_TIERS_OF_OTHERS = ("flex", "scale", "fast")
"""OpenAI's tiers that Anthropic has not: `drop_params` leaves them out."""


def version_of(endpoint: Endpoint) -> str:
    """Return the API version that an endpoint is asked for: a date such as 2026-10-21."""
    return endpoint.options.get("version") or VERSION


def takes_sampling(endpoint: Endpoint) -> bool:
    """Whether the version that an endpoint is asked for takes the fields of SAMPLING."""
    return version_of(endpoint) < VERSION


def messages_request(endpoint: Endpoint, body: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a chat request, with the endpoint's settings put in. Raises RequestRefused, which names the place."""
    fields = _fields(endpoint, body)
    system, messages = conversation(fields.get("messages"))
    sent = {"model": _model(fields), "max_tokens": _max_tokens(fields, endpoint), "messages": messages}
    if system:
        sent["system"] = system
    if body.get("stream"):
        sent["stream"] = True
    return sent | _sampling(fields) | tool_settings(fields) | _thinking_and_format(fields) | _others(fields, body)


def _fields(endpoint: Endpoint, body: Mapping[str, Any]) -> dict[str, Any]:
    text_at(body.get("model") or "", "model")
    with_sampling = takes_sampling(endpoint)
    given = apply_endpoint(endpoint, body)
    if not with_sampling and body.get("temperature") is None:
        given = {**given, "temperature": None}  # the endpoint's default is nothing that the user asked for
    if endpoint.drop_params and given.get("service_tier") in _TIERS_OF_OTHERS:
        given = {name: value for name, value in given.items() if name != "service_tier"}
    return known_fields(given, _FIELDS_WITH_SAMPLING if with_sampling else _FIELDS, endpoint, "Anthropic")


def _model(fields: Mapping[str, Any]) -> str:
    if not fields.get("model"):
        raise RequestRefused("model", "is missing; name one, or give the endpoint `models`")
    return text_at(fields["model"], "model")


def _max_tokens(fields: Mapping[str, Any], endpoint: Endpoint) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        if name in fields:
            if not _is_count(fields[name]):
                raise RequestRefused(name, "must be a whole number greater than 0")
            return int(fields[name])
    default = endpoint.options.get("max_tokens") or MAX_TOKENS
    try:
        return int(default)
    except ValueError:
        raise RequestRefused("max_tokens", f"the endpoint's option `max_tokens` is no whole number: {default!r}") from None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _sampling(fields: Mapping[str, Any]) -> dict[str, Any]:
    asked = {name: fields[name] for name in SAMPLING if name in fields}
    for name, value in asked.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise RequestRefused(name, f"must be a number (got {type(value).__name__})")
    return asked


def _thinking_and_format(fields: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    config: dict[str, Any] = {}
    effort = fields.get("reasoning_effort")
    if effort == "none":
        made["thinking"] = {"type": "disabled"}
    elif effort is not None:
        config["effort"] = _one_of(effort, _EFFORTS, "reasoning_effort")
    if "thinking" in fields:  # Anthropic's own field, more exact than OpenAI's
        text_at(object_at(fields["thinking"], "thinking").get("type"), "thinking.type")
        made["thinking"] = fields["thinking"]
    schema = _schema(fields.get("response_format"))
    if schema is not None:
        config["format"] = {"type": "json_schema", "schema": schema}
    return {**made, "output_config": config} if config else made


def _schema(response_format: Any) -> dict[str, Any] | None:
    """Return the JSON schema that the answer has to follow."""
    if response_format is None:
        return None
    kind = object_at(response_format, "response_format").get("type")
    if kind == "text":
        return None
    if kind != "json_schema":
        reason = "Anthropic can't do JSON without a schema" if kind == "json_object" else "must be of type text or json_schema"
        raise RequestRefused("response_format", f"{reason}; give a schema with the response_format json_schema")
    described = object_at(response_format.get("json_schema"), "response_format.json_schema")
    place = "response_format.json_schema.schema"
    return closed_schema(object_at(described.get("schema"), place), place)


def _others(fields: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if fields.get("n", 1) != 1:
        raise RequestRefused("n", "Anthropic gives one answer to a request; must be 1")
    if stop := fields.get("stop"):
        stops = [stop] if isinstance(stop, str) else list_at(stop, "stop")
        made["stop_sequences"] = [text_at(each, f"stop[{index}]") for index, each in enumerate(stops)]
    if "cache_control" in fields:  # Anthropic's own: the prompt is to be kept as a whole
        made["cache_control"] = object_at(fields["cache_control"], "cache_control")
    if "service_tier" in fields:
        made["service_tier"] = _one_of(fields["service_tier"], _SERVICE_TIERS, "service_tier")
    if user := _user(body):
        made["metadata"] = {"user_id": user}
    return made


def _user(body: Mapping[str, Any]) -> str | None:
    """Return the id of the user on whose behalf it is asked: Anthropic's own `metadata.user_id`, else OpenAI's two fields."""
    metadata = body.get("metadata")
    if metadata is not None and (own := object_at(metadata, "metadata").get("user_id")) is not None:
        return text_at(own, "metadata.user_id")
    for name in ("safety_identifier", "user"):
        if body.get(name) is not None:
            return text_at(body[name], name)
    return None


def _one_of(value: Any, meanings: Mapping[str, str], param: str) -> str:
    if text_at(value, param) not in meanings:
        raise RequestRefused(param, f"Anthropic can't do {value[:40]!r}; can do {', '.join(meanings)}")
    return meanings[value]
