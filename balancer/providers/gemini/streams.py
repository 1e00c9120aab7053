"""Gemini's streamed answers. Each event is a GenerateContentResponse of its own; nothing says that one was the last."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from balancer.outcome import Failure, FailureKind, Usage
from balancer.providers.base import StreamFault, Translation
from balancer.providers.gemini.answers import (
    UnreadableAnswer,
    answer_id,
    answer_model,
    content_parts,
    ending_of,
    ends_well,
    finish_reason,
    logprobs_in,
    tier_in,
    unused_id,
    usage_in,
    was_blocked,
)
from balancer.providers.gemini.failures import stream_failure, unwrapped
from balancer.providers.shapes import chunk

__all__ = ["GeminiTranslation"]

_BLOCKED = "SAFETY"
"""The finish reason of a refused prompt."""


@dataclass(slots=True)
class _Candidate:
    """What one of the answers under way has come to."""

    ending: str | None = None
    has_text: bool = False
    """Or an image."""
    calls: set[str] = field(default_factory=set)


class GeminiTranslation(Translation):
    """Reads one stream. The ends are reported when the connection has ended: Gemini may give a reason before the last words."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._head: dict[str, Any] = {}
        self._candidates: dict[int, _Candidate] = {}
        self._counts: Any = None

    def take(self, data: bytes) -> Sequence[Mapping[str, Any]]:
        event = _event(data)
        self._counts = event.get("usageMetadata") or self._counts  # counts grow from event to event: the last ones hold
        if not self._head:
            self._head = {"id": answer_id(event), "created": int(time.time()), "model": answer_model(event, self._model)}
        chunks: list[Mapping[str, Any]] = []
        found = event.get("candidates")
        for candidate in found if isinstance(found, list) else ():
            chunks += self._take_candidate(candidate)
        if not found and was_blocked(event):
            chunks += self._take_candidate({"finishReason": _BLOCKED})
        return chunks

    def _take_candidate(self, candidate: Any) -> list[Mapping[str, Any]]:
        if not isinstance(candidate, dict):
            raise _fault("a candidate is no object")
        number = candidate.get("index")
        index = number if type(number) is int and number >= 0 else 0
        deltas: list[dict[str, Any]] = []
        if index not in self._candidates:
            self._candidates[index] = _Candidate()
            deltas.append({"role": "assistant", "content": ""})
        state = self._candidates[index]
        state.ending = ending_of(candidate) or state.ending
        deltas += _deltas(candidate, state)
        made = [self._chunk(index, delta) for delta in deltas]
        if made and (logprobs := _logprobs(candidate)):
            made[-1]["choices"][0]["logprobs"] = logprobs
        return made

    def close(self) -> Sequence[Mapping[str, Any]]:
        if not self._candidates or any(each.ending is None for each in self._candidates.values()):
            return ()  # it broke off
        for each in self._candidates.values():
            if not (each.has_text or each.calls or ends_well(each.ending or "")):
                raise _fault(f"it ended with {(each.ending or '')[:40]} and without content")
        ends = [
            self._chunk(index, {}, finish_reason(each.ending or "", bool(each.calls), self._model))
            for index, each in sorted(self._candidates.items())
        ]
        return [*ends, chunk(self._head, usage=usage_in(self._counts)) | tier_in(self._counts)]

    def used_so_far(self) -> Usage:
        return usage_in(self._counts)

    def _chunk(self, index: int, delta: Mapping[str, Any], ending: str | None = None) -> Mapping[str, Any]:
        made = chunk(self._head, delta, ending)
        made["choices"][0]["index"] = index
        return made


def _deltas(candidate: Mapping[str, Any], state: _Candidate) -> list[dict[str, Any]]:
    try:
        content = content_parts(candidate.get("content"))
    except UnreadableAnswer as exc:
        raise _fault(str(exc)) from exc
    deltas: list[dict[str, Any]] = []
    if content.reasoning:
        deltas.append({"reasoning_content": content.reasoning})
    if content.text:
        state.has_text = True
        deltas.append({"content": content.text})
    if content.images:
        state.has_text = True
        deltas.append({"images": list(content.images)})
    for call in content.calls:
        number = len(state.calls)
        deltas.append({"tool_calls": [{"index": number, **call, "id": unused_id(call["id"], state.calls)}]})
    return deltas


def _logprobs(candidate: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        return logprobs_in(candidate)
    except UnreadableAnswer as exc:
        raise _fault(str(exc)) from exc


def _event(data: bytes) -> Mapping[str, Any]:
    try:
        event = unwrapped(orjson.loads(data))
    except orjson.JSONDecodeError:
        raise _fault("it is not JSON") from None
    if not isinstance(event, dict):
        raise _fault("it is no JSON object")
    if event.get("error"):
        raise StreamFault(stream_failure(event, data))
    return event


def _fault(what: str) -> StreamFault:
    return StreamFault(Failure(FailureKind.INVALID_RESPONSE, f"an event of the stream is unreadable: {what}"))
