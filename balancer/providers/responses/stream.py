"""Converts a stream of OpenAI's Responses API to chunks of chat completions.

Each event is an object with a `type`, and most say which item of the output they add to (`output_index`). Only those that add
text, arguments or reasoning are repeated, and the last one, which holds the whole response. Events that are not known are
passed over: there are some fifty kinds, and more to come.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from balancer.outcome import Failure, FailureKind, tier_of
from balancer.providers.base import StreamFault, Translation
from balancer.providers.responses.adapter import finish_reason, response_failure, responses_usage
from balancer.providers.shapes import chunk, tool_call

__all__ = ["ResponsesStream"]

_DELTAS = {
    "response.output_text.delta": "content",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "reasoning_content",
    "response.reasoning_text.delta": "reasoning_content",
}
"""Events that add text -> the field of a chunk's delta that it goes into."""


@dataclass(slots=True)
class _Call:
    """A tool call that has begun: its place among the calls, and whether any of its arguments have come."""

    index: int
    has_arguments: bool = False


class ResponsesStream(Translation):
    """Reads one stream."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {"id": "", "created": int(time.time()), "model": ""}
        self._begun = False
        self._calls: dict[int, _Call] = {}
        """By the place of the item in the output."""

    def take(self, data: bytes) -> Sequence[Mapping[str, Any]]:
        if data == b"[DONE]":  # not OpenAI's, but some of its imitators'
            return ()
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise _fault("is not JSON") from None
        if not isinstance(event, dict):
            raise _fault("is no JSON object")
        kind = event.get("type")
        if kind == "error" or ("type" not in event and event.get("error")):
            raise StreamFault(response_failure(event, data))
        if not isinstance(kind, str):
            raise _fault("has no text in `type`")
        if kind in _DELTAS:
            return self._said({_DELTAS[kind]: _text(event, "delta")})
        if kind in ("response.created", "response.completed", "response.incomplete", "response.failed"):
            return self._response(kind, _object(event, "response"), data)
        return self._of_calls(kind, event)

    def _response(self, kind: str, response: Mapping[str, Any], data: bytes) -> Sequence[Mapping[str, Any]]:
        for name in ("id", "model"):
            if isinstance(response.get(name), str):
                self._head[name] = response[name]
        if kind == "response.created":
            return self._said({"content": ""})
        if kind == "response.failed":
            raise StreamFault(response_failure(response, data))
        self.ended = True
        last = {**response, "status": kind.removeprefix("response.")}
        chunks = [chunk(self._head, {}, finish_reason(last, bool(self._calls)))]
        if isinstance(response.get("usage"), dict):
            tier = tier_of(response)
            chunks.append(chunk(self._head, usage=responses_usage(response["usage"])) | ({"service_tier": tier} if tier else {}))
        return chunks

    def _of_calls(self, kind: str, event: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        if kind == "response.output_item.added":
            return self._added(_place(event), _object(event, "item"))
        if kind == "response.function_call_arguments.delta":
            return self._arguments(event, _text(event, "delta"))
        if kind == "response.function_call_arguments.done" and not self._call(event).has_arguments:
            return self._arguments(event, _text(event, "arguments"))
        return ()

    def _added(self, place: int, item: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        if item.get("type") != "function_call":
            return ()
        call = self._calls[place] = _Call(len(self._calls))
        begun = tool_call(_text(item, "call_id"), _text(item, "name"), "")
        return self._said({"tool_calls": [{"index": call.index, **begun}]})

    def _arguments(self, event: Mapping[str, Any], text: str) -> Sequence[Mapping[str, Any]]:
        call = self._call(event)
        call.has_arguments = True
        return self._said({"tool_calls": [{"index": call.index, "function": {"arguments": text}}]})

    def _call(self, event: Mapping[str, Any]) -> _Call:
        place = _place(event)
        if place not in self._calls:
            raise _fault("adds to a function call that has not begun")
        return self._calls[place]

    def _said(self, delta: dict[str, Any]) -> Sequence[Mapping[str, Any]]:
        role = {} if self._begun else {"role": "assistant"}
        self._begun = True
        return (chunk(self._head, {**role, **delta}),)


def _text(event: Mapping[str, Any], name: str) -> str:
    text = event.get(name)
    if not isinstance(text, str):
        raise _fault(f"has no text in `{name}`")
    return text


def _object(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = event.get(name)
    if not isinstance(found, dict):
        raise _fault(f"has no object in `{name}`")
    return found


def _place(event: Mapping[str, Any]) -> int:
    place = event.get("output_index")
    if not isinstance(place, int):
        raise _fault("has no number in `output_index`")
    return place


def _fault(problem: str) -> StreamFault:
    return StreamFault(Failure(FailureKind.INVALID_RESPONSE, f"an event of the stream {problem}"))
