"""Parrot, a wire format invented for this example.

    POST /say     {"voice": "grey", "lines": [{"who": "human", "says": "Hello"}], "breath": 100, "live": false}, x-parrot-key: ...
    200           {"says": "Hello!", "why": "done", "heard": 3, "squawked": 2}
    live          data: {"bit": "Hel"}, data: {"bit": "lo!"}, data: {"why": "done", "heard": 3, "squawked": 2}
    429, 500, ... {"trouble": "too many of you", "come_back_in": 5}
    GET /voices   {"voices": ["grey", "amazon"]}

`who` is human, parrot or keeper (who says how to behave); `why` is done or breathless; `breath` is the most tokens.
"""

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import orjson

from balancer.endpoint import Endpoint
from balancer.outcome import Failure, FailureKind, Usage
from balancer.providers import Adapter, Answer, Call, Check, RequestRefused, StreamFault, Translation
from balancer.providers.failures import failure_kind, shown, unreadable
from balancer.providers.settings import apply_endpoint
from balancer.providers.shapes import chunk, completion, known_fields

_WHO = {"user": "human", "assistant": "parrot", "system": "keeper", "developer": "keeper"}
_FINISH = {"done": "stop", "breathless": "length"}


class ParrotAdapter(Adapter):
    """Translates OpenAI's chats into Parrot's lines, and back."""

    check = Check("/voices")
    hosts = ("api.parrot.example",)
    options = MappingProxyType({"accent": "how every answer of the endpoint sounds"})

    def headers(self, endpoint: Endpoint) -> dict[str, str]:
        return {"content-type": "application/json", "x-parrot-key": endpoint.api_key or ""}

    def call(self, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> Call:
        if path != "/chat/completions":
            raise RequestRefused("url", f"Parrot chats, and nothing else (got {path})")
        known = ("model", "messages", "max_tokens", "max_completion_tokens")
        fields = known_fields(apply_endpoint(endpoint, body), known, endpoint, "Parrot")
        live = bool(body.get("stream"))
        sent = {
            "voice": fields.get("model", ""),
            "lines": [_line(index, message) for index, message in enumerate(fields["messages"])],
            "live": live,
            "breath": fields.get("max_completion_tokens") or fields.get("max_tokens"),
            "accent": endpoint.options.get("accent"),
        }
        said = {name: value for name, value in sent.items() if value is not None}
        return Call("/say", orjson.dumps(said), sent["voice"], live)

    def answer(self, call: Call, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        parsed = _json(body)
        if status != 200:
            return Answer(b"", failure=_failure(status, parsed, body))
        if not isinstance(parsed, dict) or not isinstance(parsed.get("says"), str):
            return Answer(b"", failure=unreadable(status, body, parsed, "says"))
        message = {"role": "assistant", "content": parsed["says"], "refusal": None}
        choice = {"message": message, "finish_reason": _FINISH.get(parsed.get("why"), "stop")}
        made = completion(_identifier(), call.model, [choice], _usage(parsed))
        return Answer(orjson.dumps(made), _usage(parsed), parsed=made)

    def translation(self, call: Call) -> Translation:
        return _LiveParrot(call.model)

    def models(self, body: bytes) -> list[str]:
        parsed = _json(body)
        voices = parsed.get("voices") if isinstance(parsed, dict) else None
        return [voice for voice in voices if isinstance(voice, str)] if isinstance(voices, list) else []


class _LiveParrot(Translation):
    """Reads one streamed answer."""

    def __init__(self, model: str) -> None:
        self._head = {"id": _identifier(), "created": int(time.time()), "model": model}

    def take(self, data: bytes) -> Sequence[Mapping[str, Any]]:
        event = _json(data)
        if not isinstance(event, dict):
            raise StreamFault(Failure(FailureKind.INVALID_RESPONSE, "an event of the stream is no JSON object"))
        if "trouble" in event:
            raise StreamFault(_failure(500, event, data))
        if isinstance(event.get("bit"), str):
            return (chunk(self._head, {"role": "assistant", "content": event["bit"]}),)
        self.ended = True
        return (chunk(self._head, {}, _FINISH.get(event.get("why"), "stop")), chunk(self._head, usage=_usage(event)))


def _line(index: int, message: Mapping[str, Any]) -> dict[str, str]:
    place = f"messages[{index}]"
    who = _WHO.get(message.get("role", ""))
    if who is None:
        raise RequestRefused(f"{place}.role", "Parrot has no tools; must be system, developer, user or assistant")
    if not isinstance(message.get("content"), str):
        raise RequestRefused(f"{place}.content", "Parrot only hears text")
    return {"who": who, "says": message["content"]}


def _failure(status: int, parsed: Any, body: bytes) -> Failure:
    trouble = parsed if isinstance(parsed, dict) else {}
    wait = trouble.get("come_back_in")
    message = f"HTTP {status}: {trouble.get('trouble') or shown(body)}"
    return Failure(failure_kind(status), message, status, float(wait) if isinstance(wait, int | float) else None)


def _usage(parsed: Mapping[str, Any]) -> Usage:
    heard, squawked = (parsed.get(name) for name in ("heard", "squawked"))
    return Usage(heard if isinstance(heard, int) else 0, squawked if isinstance(squawked, int) else 0)


def _identifier() -> str:
    return f"parrot-{time.monotonic_ns()}"


def _json(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
