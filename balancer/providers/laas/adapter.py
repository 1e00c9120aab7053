"""Wanted LaaS: chat completions by a preset, which fixes the model and the beginning of the prompt.

`POST /chat/completions` with the headers `project` and `apiKey`. The body names the preset by its `hash`; `messages` are put
after the preset's own, `params` fill its variables, and other fields take the place of the preset's. It doesn't stream: a stream
is made of the whole answer. LaaS has no published list of errors; see `laas_answers`.

An endpoint's `options` are `project` and, for requests that name none, `hash`. A model's name is sent along and replaces the
preset's; one that `models` maps to "" is not: `models: {my-preset: ""}`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from balancer.endpoint import Endpoint
from balancer.outcome import Failure, FailureKind
from balancer.providers.base import Adapter, Answer, Call, Check, RequestRefused, StreamFault, Translation
from balancer.providers.laas.answers import laas_answer
from balancer.providers.laas.messages import laas_messages
from balancer.providers.settings import apply_endpoint
from balancer.providers.shapes import known_fields

__all__ = ["LaaSAdapter"]

CHAT = "/chat/completions"
_PASSED_ON = frozenset(
    {
        "model", "service_type", "temperature", "top_p", "max_tokens", "frequency_penalty", "presence_penalty", "source_count",
        "params",
    }
)  # fmt: skip
_KNOWN = _PASSED_ON | {"hash", "messages", "max_completion_tokens", "response_format", "n"}
_FORMATS = frozenset({"text", "json_object"})


class LaaSAdapter(Adapter):
    """LaaS' preset API, version 2 (and 1, which differs in the address only)."""

    check = Check("/health", at_root=True)
    lists_models = False

    def headers(self, endpoint: Endpoint) -> dict[str, str]:
        headers = {"content-type": "application/json; charset=utf-8"}
        if project := endpoint.options.get("project"):
            headers["project"] = project
        if endpoint.api_key:
            headers["apiKey"] = endpoint.api_key
        return headers

    def call(self, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> Call:
        if path != CHAT:
            raise RequestRefused("url", f"LaaS has chat completions only, not {path}")
        fields = known_fields(apply_endpoint(endpoint, body), _KNOWN, endpoint, "LaaS")
        sent = {"hash": _preset(fields, endpoint), **_overrides(fields)}
        if "messages" in fields:
            sent["messages"] = laas_messages(fields["messages"])
        return Call(CHAT, orjson.dumps(sent), sent.get("model", ""))

    def answer(self, call: Call, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        return laas_answer(call.model, status, headers, body)

    def translation(self, call: Call) -> Translation:
        return _NoStream()

    def models(self, body: bytes) -> list[str]:
        """None: the check asks for nothing but life."""
        return []


def _preset(fields: Mapping[str, Any], endpoint: Endpoint) -> str:
    preset = fields.get("hash") or endpoint.options.get("hash")
    if not isinstance(preset, str) or not preset:
        raise RequestRefused("hash", f"must name a preset, since the endpoint {endpoint.name} has none in `options.hash`")
    return preset


def _overrides(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what replaces the preset's own settings. Raises RequestRefused."""
    sent = {name: fields[name] for name in fields if name in _PASSED_ON}
    if not sent.get("model"):
        sent.pop("model", None)
    if not isinstance(sent.get("params", {}), dict):
        raise RequestRefused("params", "must be an object: the preset's variables with their values")
    if "max_completion_tokens" in fields:
        sent["max_tokens"] = fields["max_completion_tokens"]
    if "response_format" in fields:
        sent["response_format"] = _response_format(fields["response_format"])
    if fields.get("n", 1) != 1:
        raise RequestRefused("n", "LaaS gives one answer to a request")
    return sent


def _response_format(wanted: Any) -> dict[str, str]:
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if not isinstance(kind, str) or kind not in _FORMATS:
        raise RequestRefused("response_format", f"LaaS knows {' and '.join(sorted(_FORMATS))}, and no JSON schema")
    return {"type": kind}


class _NoStream(Translation):
    """LaaS was never asked for a stream."""

    def take(self, data: bytes) -> Sequence[Mapping[str, Any]]:
        raise StreamFault(Failure(FailureKind.INVALID_RESPONSE, "a stream, where a whole answer was asked for"))
